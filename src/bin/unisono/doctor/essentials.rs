//! What every job needs of the kernel, tried out.

use super::{Findings, Section};
use crate::os;
use serde::Serialize;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

#[derive(Serialize)]
pub struct Essential {
    name: &'static str,
    works: bool,
    /// Why not, in the kernel's words.
    error: Option<String>,
    #[serde(skip)]
    remedy: &'static str,
}

type Trial = fn() -> io::Result<()>;

/// Each with what to do if it does not work.
const TRIALS: [(&str, Trial, &str); 4] = [
    ("memory files (memfd)", memory_file, "allow memfd_create in the container's seccomp profile"),
    ("TCP on loopback", loopback, "bring the loopback interface up (`ip link set lo up`)"),
    ("abstract Unix sockets", abstract_socket, "allow Unix sockets in the container's security profile"),
    ("random numbers", random_numbers, "allow getrandom in the container's seccomp profile"),
];

pub fn try_all() -> Vec<Essential> {
    let tried = TRIALS.iter().map(|(name, trial, remedy)| {
        let error = trial().err().map(|error| error.to_string());
        Essential { name, works: error.is_none(), error, remedy }
    });
    tried.collect()
}

fn memory_file() -> io::Result<()> {
    let mut file = os::memory_file()?;
    file.set_len(4096)?;
    file.write_all(b"x")
}

fn loopback() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    TcpStream::connect(listener.local_addr()?).map(drop)
}

fn abstract_socket() -> io::Result<()> {
    let name = format!("unisono-doctor-{}", std::process::id());
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?).map(drop)
}

fn random_numbers() -> io::Result<()> {
    getrandom::fill(&mut [0u8; 32]).map_err(|error| io::Error::other(error.to_string()))
}

impl Section for Vec<Essential> {
    const NAME: &'static str = "works";

    fn lines(&self) -> Vec<String> {
        let line = |essential: &Essential| match &essential.error {
            None => format!("{}: yes", essential.name),
            Some(error) => format!("{}: NO ({error})", essential.name),
        };
        self.iter().map(line).collect()
    }

    fn judge(&self, findings: &mut Findings) {
        for Essential { name, error, remedy, .. } in self {
            if let Some(error) = error {
                findings.broken(format!("{name} can't be had ({error}): {remedy}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_work_is_broken_and_has_a_remedy() {
        let failed = Essential { name: "bread", works: false, error: Some("none left".to_owned()), remedy: "buy some" };
        let mut findings = Findings::default();
        vec![failed].judge(&mut findings);
        assert_eq!(findings.broken, ["bread can't be had (none left): buy some"]);
    }
}
