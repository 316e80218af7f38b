//! Starting one rank.

use super::lines::Lines;
use super::sink::{self, Sinks};
use super::{Launch, Output};
use crate::failure::{BAD_ARGUMENTS, FAILED, Failure, NOT_EXECUTABLE, NOT_FOUND};
use crate::os::{self, FileLimit, Pid, SignalMask};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

/// How the ranks of one launch find and trust each other.
pub struct Meeting {
    pub port: u16,
    pub secret: String,
}

/// One rank: a process of ours, and what it writes unless that goes elsewhere.
pub struct RankProcess {
    pub pid: Pid,
    pub running: bool,
    pub streams: Vec<Stream>,
}

/// What a rank writes on one of its outputs.
pub struct Stream {
    pub output: sink::Output,
    rank: usize,
    lines: Lines,
    pipe: File,
}

impl Stream {
    fn new(output: sink::Output, rank: usize, pipe: impl Into<OwnedFd>) -> Stream {
        Stream { output, rank, lines: Lines::default(), pipe: File::from(pipe.into()) }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Passes on what there is to read; false at the end. Does not block if the pipe is ready.
    pub fn forward(&mut self, sinks: &mut Sinks) -> bool {
        let mut buffer = [0; 64 << 10];
        let mut pass_on = |line: &[u8]| sinks.line(self.output, self.rank, line);
        match self.pipe.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Ok(0) | Err(_) => {
                self.lines.finish(&mut pass_on);
                false
            }
            Ok(length) => {
                self.lines.take(&buffer[..length], &mut pass_on);
                true
            }
        }
    }
}

/// What this process has changed for itself, and a rank gets as it was.
#[derive(Clone, Copy)]
pub struct Inherited {
    pub files: FileLimit,
    pub signals: SignalMask,
}

pub fn start(launch: &Launch, meeting: &Meeting, rank: usize, inherited: Inherited) -> Result<RankProcess, Failure> {
    let mut command = Command::new(&launch.program);
    command.args(&launch.arguments);
    for name in OTHER_PLACES {
        command.env_remove(name);
    }
    for (name, value) in [
        ("RANK", rank.to_string()),
        ("WORLD_SIZE", launch.ranks.to_string()),
        ("LOCAL_RANK", rank.to_string()),
        ("LOCAL_WORLD_SIZE", launch.ranks.to_string()),
        ("MASTER_ADDR", "127.0.0.1".to_owned()),
        ("MASTER_PORT", meeting.port.to_string()),
        ("UNISONO_SECRET", meeting.secret.clone()),
        ("UNISONO_LAUNCHED", "1".to_owned()),
    ] {
        command.env(name, value);
    }
    command.stdin(if rank == 0 { Stdio::inherit() } else { Stdio::null() });
    match &launch.output {
        Output::Plain => {}
        Output::OneVoice if rank > 0 => drop(command.stderr(Stdio::piped())),
        Output::OneVoice => {}
        Output::Prefix => drop(command.stdout(Stdio::piped()).stderr(Stdio::piped())),
        Output::Directory(directory) => {
            command.stdout(create(directory, rank, "out")?).stderr(create(directory, rank, "err")?);
        }
    }
    let supervisor = std::process::id() as Pid;
    os::before_exec(&mut command, move || {
        inherited.files.set()?;
        inherited.signals.set()?;
        os::die_with_parent(supervisor, libc::SIGKILL)
    });
    let mut child = command.spawn().map_err(|error| cannot_start(launch, rank, &error))?;
    let stdout = child.stdout.take().map(|pipe| Stream::new(sink::Output::Stdout, rank, pipe));
    let stderr = child.stderr.take().map(|pipe| Stream::new(sink::Output::Stderr, rank, pipe));
    Ok(RankProcess { pid: child.id() as Pid, running: true, streams: stdout.into_iter().chain(stderr).collect() })
}

/// Settings of a job around this one, which would go before those that the ranks get here.
const OTHER_PLACES: [&str; 6] = [
    "UNISONO_RANK",
    "UNISONO_WORLD_SIZE",
    "UNISONO_LOCAL_RANK",
    "UNISONO_LOCAL_WORLD_SIZE",
    "UNISONO_PORT",
    "UNISONO_JOB_ID",
];

fn create(directory: &Path, rank: usize, kind: &str) -> Result<File, Failure> {
    let path = directory.join(format!("rank-{rank}.{kind}"));
    std::fs::create_dir_all(directory).and_then(|()| File::create(&path)).map_err(|error| match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => {
            Failure::new(FAILED, format!("cannot open {path:?}: {error}: {MORE_FILES}"))
        }
        _ => Failure::new(
            BAD_ARGUMENTS,
            format!("cannot write {path:?}: {error}: name a directory that can be written with --output"),
        ),
    })
}

pub const MORE_FILES: &str = "raise the limit on open files (`ulimit -n`), or start fewer ranks";

fn cannot_start(launch: &Launch, rank: usize, error: &io::Error) -> Failure {
    let program = Path::new(&launch.program).display();
    let which = format!("rank {rank} of {}", launch.ranks);
    match error.raw_os_error() {
        Some(libc::ENOENT) => Failure::new(
            NOT_FOUND,
            format!(
                "cannot find the program `{program}` (or the interpreter that its first line names): check its path"
            ),
        ),
        Some(libc::EACCES | libc::EPERM | libc::ENOEXEC | libc::EISDIR | libc::ENOTDIR) => Failure::new(
            NOT_EXECUTABLE,
            format!("cannot run `{program}`: {error}: name a program that may be executed"),
        ),
        Some(libc::EAGAIN) => Failure::new(
            FAILED,
            format!(
                "cannot start {which}: the limit on processes is reached: raise it (`ulimit -u`, pids.max of the \
                 container), or start fewer ranks"
            ),
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            Failure::new(FAILED, format!("cannot start {which}: too many open files: {MORE_FILES}"))
        }
        Some(libc::ENOMEM) => {
            Failure::new(FAILED, format!("cannot start {which}: no memory is left: start fewer ranks"))
        }
        _ => Failure::new(FAILED, format!("cannot start {which} (`{program}`): {error}")),
    }
}

impl Meeting {
    /// A fresh secret, and a port of the loopback interface that nobody uses at the moment.
    pub fn new() -> Result<Meeting, Failure> {
        let mut random = [0u8; 64];
        getrandom::fill(&mut random).map_err(|error| {
            Failure::new(FAILED, format!("the kernel gives no random bytes for the job's secret: {error}"))
        })?;
        let (secret, candidates) = random.split_at(32);
        let port = free_port(candidates).map_err(|error| {
            Failure::new(FAILED, format!("no free port on 127.0.0.1 for the ranks to meet: {error}"))
        })?;
        Ok(Meeting { port, secret: secret.iter().map(|byte| format!("{byte:02x}")).collect() })
    }
}

/// A port below the range from which the kernel serves outgoing connections (32768 and up by default): between this
/// look and the moment at which rank 0 listens, nobody gets it by chance.
fn free_port(random: &[u8]) -> io::Result<u16> {
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let candidates = random.chunks_exact(2).map(|pair| 20_000 + u16::from_le_bytes([pair[0], pair[1]]) % 12_000);
    match candidates.into_iter().find(is_free) {
        Some(port) => Ok(port),
        None => Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port()),
    }
}
