//! Who this process is, read from what its launcher left in the environment.
//!
//! Pure: variables come through a closure. The first that is found decides: `UNISONO_RANK` or `unisono launch`, torchrun, Open
//! MPI, Hydra (MPICH, Intel MPI), a Slurm step, plain `RANK` and `WORLD_SIZE`; a process with none of them is alone.

use super::MAX_RANKS;
use super::secret::Key;
use super::variables::{Variables, contradiction};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use std::fmt;

/// What started this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Launcher {
    /// `unisono launch`, or `UNISONO_RANK` and `UNISONO_WORLD_SIZE` set by hand.
    Unisono,
    Torchrun,
    OpenMpi,
    /// `mpiexec` of MPICH and of Intel MPI.
    Hydra,
    /// `srun`.
    Slurm,
    /// `RANK` and `WORLD_SIZE` set by hand or by a launcher without a mark of its own.
    Plain,
    /// Nothing: a world of one rank.
    Alone,
}

impl Launcher {
    pub const fn name(self) -> &'static str {
        match self {
            Launcher::Unisono => "unisono launch",
            Launcher::Torchrun => "torchrun",
            Launcher::OpenMpi => "Open MPI",
            Launcher::Hydra => "Hydra (MPICH or Intel MPI)",
            Launcher::Slurm => "Slurm",
            Launcher::Plain => "RANK and WORLD_SIZE",
            Launcher::Alone => "alone",
        }
    }
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where the ranks of a job meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Nowhere: there is one rank.
    Alone,
    /// All ranks are on one host and meet at an abstract Unix socket named after user and job.
    Local(JobKey),
    /// At this TCP address, which rank 0 binds. `host` is a name or an IP address.
    Address { host: String, port: u16 },
}

/// What tells this job from others of the same user on the same host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobKey {
    Named(String),
    /// The process that started the ranks: they have it in common.
    Parent,
}

/// One process's place in its job.
#[derive(Clone, Debug)]
pub struct Job {
    pub rank: Rank,
    /// Ranks of the job, at least 1.
    pub size: usize,
    pub launcher: Launcher,
    /// This rank's number among those of its host, if the launcher told.
    pub local_rank: Option<Rank>,
    /// How many ranks this host has, if the launcher told.
    pub local_size: Option<usize>,
    pub meeting: Meeting,
    /// From `UNISONO_SECRET`. Without it ranks meet only on one host, where the kernel vouches for their user.
    pub secret: Option<Key>,
    /// From `UNISONO_HOST_ID`.
    pub host_id: Option<String>,
}

impl Job {
    /// Reads the place from variables; pass `&|name| std::env::var(name).ok()` for those of the process.
    ///
    /// ```
    /// use unisono::bootstrap::{Job, Launcher};
    ///
    /// let variables = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_LOCAL_SIZE", "2")];
    /// let job = Job::from_environment(&|name| {
    ///     variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
    /// })?;
    /// assert_eq!((job.rank, job.size, job.launcher), (1, 2, Launcher::OpenMpi));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if variables contradict each other, or if the job has several hosts and no secret; the
    /// message names the variable, its value and the remedy.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Job> {
        let variables = Variables(lookup);
        let launcher = recognise(&variables);
        let secret = variables.text("UNISONO_SECRET")?.map(|text| Key::from_secret(&text));
        let host_id = variables.text("UNISONO_HOST_ID")?;
        let Some(names) = names(launcher, &variables) else {
            let meeting = Meeting::Alone;
            let (local_rank, local_size) = (Some(0), Some(1));
            return Ok(Job { rank: 0, size: 1, launcher, local_rank, local_size, meeting, secret, host_id });
        };
        let place = Place::read(&variables, &names)?;
        agrees_with_plain(&variables, &names, &place)?;
        let meeting = match place.size {
            1 => Meeting::Alone,
            _ => meeting(&variables, launcher, &place, secret.is_some())?,
        };
        let Place { rank, size, local_rank, local_size } = place;
        Ok(Job { rank, size, launcher, local_rank, local_size, meeting, secret, host_id })
    }
}

fn recognise(variables: &Variables<'_>) -> Launcher {
    let any = |names: &[&str]| names.iter().any(|name| variables.has(name));
    let in_slurm_step = any(&["SLURM_STEP_ID"]) && any(&["SLURM_PROCID"]);
    if any(&["UNISONO_RANK", "UNISONO_WORLD_SIZE", "UNISONO_LAUNCHED"]) {
        Launcher::Unisono
    } else if any(&["TORCHELASTIC_RUN_ID"]) {
        Launcher::Torchrun
    } else if any(&["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"]) {
        Launcher::OpenMpi
    } else if any(&["PMI_RANK", "PMI_SIZE"]) && (any(&["MPI_LOCALNRANKS"]) || !in_slurm_step) {
        // `srun --mpi=pmi2` sets the PMI variables too, but knows more under its own names.
        Launcher::Hydra
    } else if in_slurm_step {
        Launcher::Slurm
    } else if any(&["RANK", "WORLD_SIZE"]) {
        Launcher::Plain
    } else {
        Launcher::Alone
    }
}

/// The variables in which a launcher says who a process is.
struct Names {
    rank: &'static str,
    size: &'static str,
    local_rank: &'static str,
    /// Slurm does not say where nodes have different numbers of tasks.
    local_size: Option<&'static str>,
}

fn names(launcher: Launcher, variables: &Variables<'_>) -> Option<Names> {
    let plain =
        Names { rank: "RANK", size: "WORLD_SIZE", local_rank: "LOCAL_RANK", local_size: Some("LOCAL_WORLD_SIZE") };
    match launcher {
        Launcher::Unisono if variables.has("UNISONO_RANK") || variables.has("UNISONO_WORLD_SIZE") => Some(Names {
            rank: "UNISONO_RANK",
            size: "UNISONO_WORLD_SIZE",
            local_rank: "UNISONO_LOCAL_RANK",
            local_size: Some("UNISONO_LOCAL_WORLD_SIZE"),
        }),
        Launcher::Unisono | Launcher::Torchrun | Launcher::Plain => Some(plain),
        Launcher::OpenMpi => Some(Names {
            rank: "OMPI_COMM_WORLD_RANK",
            size: "OMPI_COMM_WORLD_SIZE",
            local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
            local_size: Some("OMPI_COMM_WORLD_LOCAL_SIZE"),
        }),
        Launcher::Hydra => Some(Names {
            rank: "PMI_RANK",
            size: "PMI_SIZE",
            local_rank: "MPI_LOCALRANKID",
            local_size: Some("MPI_LOCALNRANKS"),
        }),
        Launcher::Slurm => Some(Names {
            rank: "SLURM_PROCID",
            // The step's own count; SLURM_NTASKS can be the allocation's.
            size: if variables.has("SLURM_STEP_NUM_TASKS") { "SLURM_STEP_NUM_TASKS" } else { "SLURM_NTASKS" },
            local_rank: "SLURM_LOCALID",
            local_size: None,
        }),
        Launcher::Alone => None,
    }
}

/// RANK and WORLD_SIZE beside those of a launcher must say the same: what started this process inside a step of Slurm or under mpirun, and
/// set them, would else see each rank alone in a world of the launcher's.
fn agrees_with_plain(variables: &Variables<'_>, names: &Names, place: &Place) -> Result<()> {
    let (Some(rank), Some(size)) = (variables.number("RANK")?, variables.number("WORLD_SIZE")?) else { return Ok(()) };
    let is_own = names.rank == "UNISONO_RANK" || (rank, size) == (place.rank, place.size);
    if is_own {
        return Ok(());
    }
    let told = format!("{}={} and {}={}", names.rank, place.rank, names.size, place.size);
    Err(contradiction(format!("RANK={rank} and WORLD_SIZE={size}, but {told}"))
        .remedy("unset those that are not meant, or set UNISONO_RANK and UNISONO_WORLD_SIZE, which go before both"))
}

struct Place {
    rank: Rank,
    size: usize,
    local_rank: Option<Rank>,
    local_size: Option<usize>,
}

impl Place {
    fn read(variables: &Variables<'_>, names: &Names) -> Result<Place> {
        let rank = variables.required(names.rank, names.size)?;
        let size = variables.required(names.size, names.rank)?;
        if size == 0 {
            return Err(contradiction(format!("{}=0, but a world has at least one rank", names.size))
                .remedy(format!("set {} to the number of ranks", names.size)));
        }
        if size > MAX_RANKS {
            return Err(contradiction(format!("{}={size} is more than the {MAX_RANKS} ranks of a world", names.size))
                .remedy("start fewer ranks, or several jobs"));
        }
        if rank >= size {
            return Err(contradiction(format!(
                "{}={rank} is not below {}={size}; ranks count from 0",
                names.rank, names.size
            ))
            .remedy("give each process its own rank from 0 to the number of ranks less one"));
        }
        let local_rank = variables.number(names.local_rank)?;
        let (name, local_size) = match names.local_size {
            None => (names.size, (slurm_nodes(variables)? == Some(1)).then_some(size)),
            Some(name) => (name, variables.number(name)?),
        };
        check_local_size(name, local_size, local_rank.map(|rank| (names.local_rank, rank)), (names.size, size))?;
        Ok(Place { rank, size, local_rank, local_size })
    }
}

fn check_local_size(
    name: &str,
    count: Option<usize>,
    local_rank: Option<(&str, Rank)>,
    (size_name, size): (&str, usize),
) -> Result<()> {
    let Some(count) = count else { return Ok(()) };
    if count == 0 || count > size {
        return Err(contradiction(format!("{name}={count} does not fit {size_name}={size}"))
            .remedy("a host has at least one rank and no more than the job"));
    }
    match local_rank {
        Some((rank_name, rank)) if rank >= count => {
            Err(contradiction(format!("{rank_name}={rank} is not below {name}={count}; local ranks count from 0"))
                .remedy("give each process of a host its own local rank"))
        }
        _ => Ok(()),
    }
}

fn slurm_nodes(variables: &Variables<'_>) -> Result<Option<usize>> {
    match variables.number("SLURM_STEP_NUM_NODES")? {
        None => variables.number("SLURM_NNODES"),
        nodes => Ok(nodes),
    }
}

/// Decides where the ranks meet. An address together with a secret is taken at its word, except under torchrun, whose agent
/// listens on `MASTER_PORT` itself; without a secret only one host will do.
fn meeting(variables: &Variables<'_>, launcher: Launcher, place: &Place, has_secret: bool) -> Result<Meeting> {
    let address = address(variables, launcher)?;
    let is_local = is_local(variables, launcher, place)?;
    let prefers_local = launcher == Launcher::Torchrun;
    match address {
        Some((host, port)) if has_secret && !(is_local && prefers_local) => Ok(Meeting::Address { host, port }),
        _ if is_local => Ok(Meeting::Local(job_key(variables, launcher)?)),
        _ => match (launcher, has_secret) {
            (Launcher::Slurm, true) => slurm_address(variables),
            _ => Err(no_way_to_meet(place, has_secret)),
        },
    }
}

fn no_way_to_meet(place: &Place, has_secret: bool) -> Error {
    let ranks = place.size;
    let (what, remedy) = if has_secret {
        (
            "nothing says where they meet",
            "set MASTER_ADDR to the address of rank 0's host and MASTER_PORT to a free port there, equal on all ranks",
        )
    } else {
        (
            "there is no secret by which they could trust each other",
            "set UNISONO_SECRET to one random text, and MASTER_ADDR and MASTER_PORT to an address of rank 0's host and a free \
             port there, equal on all ranks",
        )
    };
    Error::new(
        ErrorKind::Configuration,
        format!("the {ranks} ranks of this job are not known to be on one host, and {what}"),
    )
    .on_rank(place.rank)
    .remedy(remedy)
}

/// The address given by `MASTER_ADDR` and `UNISONO_PORT` or `MASTER_PORT`.
fn address(variables: &Variables<'_>, launcher: Launcher) -> Result<Option<(String, u16)>> {
    let host = variables.text("MASTER_ADDR")?;
    let own_port = variables.port("UNISONO_PORT")?;
    let master_port = variables.port("MASTER_PORT")?;
    let beside_agent = |port: u16| {
        port.checked_add(1).ok_or_else(|| {
            contradiction("MASTER_PORT=65535 leaves no port after it, and torchrun's agent holds that one")
                .remedy("set UNISONO_PORT to a free port of rank 0's host")
        })
    };
    let port = match (own_port, master_port, launcher) {
        (Some(port), _, _) => Some(port),
        (None, Some(port), Launcher::Torchrun) => Some(beside_agent(port)?),
        (None, port, _) => port,
    };
    match (host, port) {
        (Some(host), Some(port)) => Ok(Some((host, port))),
        (None, _) => Ok(None),
        (Some(host), None) => Err(contradiction(format!("MASTER_ADDR={host}, but MASTER_PORT is not set"))
            .remedy("set MASTER_PORT to a free port of rank 0's host, equal on all ranks")),
    }
}

fn is_local(variables: &Variables<'_>, launcher: Launcher, place: &Place) -> Result<bool> {
    if place.local_size == Some(place.size) {
        return Ok(true);
    }
    if launcher == Launcher::Slurm {
        return Ok(false);
    }
    let told_other_hosts = place.local_size.is_some();
    Ok(match variables.text("MASTER_ADDR")? {
        Some(host) => is_loopback(&host),
        // By hand and without an address: nothing speaks of another host.
        None => !told_other_hosts && matches!(launcher, Launcher::Plain | Launcher::Unisono),
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn job_key(variables: &Variables<'_>, launcher: Launcher) -> Result<JobKey> {
    if let Some(id) = variables.text("UNISONO_JOB_ID")? {
        return Ok(JobKey::Named(format!("job {id}")));
    }
    let text = |name| variables.text(name);
    let master = match (text("MASTER_ADDR")?, text("MASTER_PORT")?) {
        (Some(host), Some(port)) => Some(format!("{host}:{port}")),
        _ => None,
    };
    let named = match launcher {
        // A restarted job must not meet what is left of its former self.
        Launcher::Torchrun => Some(format!(
            "torchrun {} {} restart {}",
            text("TORCHELASTIC_RUN_ID")?.unwrap_or_default(),
            master.unwrap_or_default(),
            text("TORCHELASTIC_RESTART_COUNT")?.unwrap_or_default(),
        )),
        Launcher::OpenMpi => text("PMIX_NAMESPACE")?.map(|name| format!("pmix {name}")),
        Launcher::Slurm => Some(format!(
            "slurm {}.{}",
            text("SLURM_JOB_ID")?.unwrap_or_default(),
            text("SLURM_STEP_ID")?.unwrap_or_default()
        )),
        Launcher::Hydra => None,
        Launcher::Unisono | Launcher::Plain | Launcher::Alone => master.map(|address| format!("at {address}")),
    };
    Ok(named.map_or(JobKey::Parent, JobKey::Named))
}

/// In a Slurm step the first node runs rank 0; the port follows from the job so that jobs sharing a node do not meet.
fn slurm_address(variables: &Variables<'_>) -> Result<Meeting> {
    let list = variables.text("SLURM_STEP_NODELIST")?;
    let Some(host) = list.as_deref().and_then(first_node) else {
        return Err(contradiction("this Slurm step has several nodes and SLURM_STEP_NODELIST does not name the first")
            .remedy("set MASTER_ADDR and MASTER_PORT to an address of rank 0's node and a free port there"));
    };
    let port = match variables.port("UNISONO_PORT")? {
        Some(port) => port,
        None => {
            let job = variables.number("SLURM_JOB_ID")?.unwrap_or(0);
            let step = variables.number("SLURM_STEP_ID")?.unwrap_or(0);
            20_000 + (job.wrapping_mul(16).wrapping_add(step) % 10_000) as u16
        }
    };
    Ok(Meeting::Address { host, port })
}

/// The first host of a Slurm list such as `gpu[07-09,12],login` or `rack[0-1]n[1-4]-ib`: of every bracket the first number, padding
/// kept.
pub(super) fn first_node(list: &str) -> Option<String> {
    let mut host = String::new();
    let mut rest = list.trim();
    loop {
        let (text, after) = rest.split_at(rest.find(['[', ']', ',']).unwrap_or(rest.len()));
        host.push_str(text);
        let Some(bracket) = after.strip_prefix('[') else {
            let is_name = !after.starts_with(']') && !host.is_empty() && !host.contains(char::is_whitespace);
            return is_name.then_some(host);
        };
        let (numbers, after) = bracket.split_once(']')?;
        let number = numbers.split(['-', ',']).next().filter(|number| !number.is_empty())?;
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        host.push_str(number);
        rest = after;
    }
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
