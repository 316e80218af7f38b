//! Which machine, how many bytes: arguments that the planning commands share.

use crate::bounded;
use crate::failure::{BAD_ARGUMENTS, Failure};
use std::path::Path;
use unisono::size;
use unisono::topology::host::{Constants, Speeds};
use unisono::topology::machines::{self, Request};
use unisono::topology::{Topology, file};
use unisono::{Builder, Collective, DType, TransportKind};

/// The machine.
#[derive(clap::Args, Clone, Debug)]
pub struct Machine {
    /// A machine by its name (see `unisono machines`), or a file that describes one
    #[arg(long, value_name = "MACHINE|FILE.toml")]
    pub on: String,

    /// UltraServers, racks or instances; 1 if nothing is said
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = number)]
    units: Option<usize>,

    /// GPUs of each unit that take part, the first ones; all if nothing is said
    #[arg(long, value_name = "M", allow_negative_numbers = true, value_parser = number)]
    gpus_per_unit: Option<usize>,

    /// The rate of a GPU's NIC, each direction
    #[arg(long, value_name = "G", allow_negative_numbers = true, value_parser = gbps)]
    nic_gbps_per_gpu: Option<f64>,
}

/// What is exchanged.
#[derive(clap::Args, Clone, Debug)]
pub struct Bytes {
    /// How many bytes, as nccl-tests counts them; several with commas. A barrier needs none
    #[arg(long, value_name = "B[,B...]", value_delimiter = ',', value_parser = size::parse, allow_negative_numbers = true)]
    bytes: Vec<u64>,

    /// i8, u8, i32, u32, i64, u64, f16, bf16, f32, f64, fp8-e4m3 or fp8-e5m2
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    pub dtype: DType,
}

impl Bytes {
    /// The sizes that are asked about: one of no bytes where a barrier is, and none was given.
    ///
    /// # Errors
    /// If there is none of what has bytes.
    pub fn sizes(&self, collective: Collective) -> Result<Vec<u64>, Failure> {
        match (&self.bytes[..], collective) {
            ([], Collective::Barrier) => Ok(vec![0]),
            ([], _) => {
                let told = format!("--bytes <B[,B...]>: {collective} is of a size; give one such as --bytes 64KiB");
                Err(Failure::new(BAD_ARGUMENTS, told))
            }
            (sizes, _) => Ok(sizes.to_vec()),
        }
    }

    /// None of a barrier, which has no elements.
    pub fn dtype_name(&self, collective: Collective) -> Option<&'static str> {
        (collective != Collective::Barrier).then(|| self.dtype.name())
    }
}

/// What `plan` and `simulate` are asked.
#[derive(clap::Args, Clone, Debug)]
pub struct Question {
    /// all_reduce, all_gather, reduce_scatter, broadcast, reduce, gather, scatter, all_to_all, barrier, all_gather_v,
    /// reduce_scatter_v or all_to_all_v
    pub collective: Collective,

    #[command(flatten)]
    pub machine: Machine,

    #[command(flatten)]
    pub size: Bytes,
}

impl Question {
    /// The sizes, of a collective that plans can serve.
    ///
    /// # Errors
    /// Of what no plan serves, on no machine; and as [`Bytes::sizes`].
    pub fn sizes(&self) -> Result<Vec<u64>, Failure> {
        if self.collective == Collective::SendRecv {
            let told = "send_recv: there is no plan to choose, everyone sends to the next; `unisono bound send_recv` says how \
                        long that takes at least, `unisono bench send_recv` how long it takes here";
            return Err(Failure::new(BAD_ARGUMENTS, told));
        }
        self.size.sizes(self.collective)
    }

    /// How many of the asked bytes are exchanged: what a barrier's messages carry is nobody's.
    pub fn bytes_exchanged(&self, asked: u64) -> u64 {
        if self.collective == Collective::Barrier { 0 } else { asked }
    }
}

/// What `plan` is asked beside the question, and other commands have no use for.
#[derive(clap::Args, Clone, Debug)]
pub struct OfPlanOnly {
    #[arg(long, hide = true, value_name = "NAME")]
    engine: Option<String>,
    #[arg(long, hide = true, value_name = "V")]
    nccl_version: Option<String>,
    #[arg(long, hide = true)]
    no_nvls: bool,
    #[arg(long, hide = true, value_name = "ORDER")]
    placement: Option<String>,
    #[arg(long, hide = true, value_name = "FILE")]
    rules: Option<String>,
}

impl OfPlanOnly {
    /// Refuses what is given and would change nothing, but for what says as much. `why` a command has no use for it.
    ///
    /// # Errors
    /// One sentence that names the argument and what to do.
    pub fn refuse(&self, why: &str) -> Result<(), Failure> {
        let given = [
            ("--engine", self.engine.as_deref().is_some_and(|name| name != "unisono")),
            ("--nccl-version", self.nccl_version.is_some()),
            ("--no-nvls", self.no_nvls),
            ("--placement", self.placement.as_deref().is_some_and(|order| order != "blocked")),
            ("--rules", self.rules.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((argument, _)) => Err(Failure::new(BAD_ARGUMENTS, format!("{argument}: {why}"))),
            None => Ok(()),
        }
    }
}

/// A larger file is not a machine.
const MOST_FILE_BYTES: u64 = 16 << 20;

impl Machine {
    /// The machine that was asked for.
    pub fn topology(&self) -> Result<Topology, Failure> {
        if !self.names_a_file() {
            let request = Request {
                machine: &self.on,
                units: self.units.unwrap_or(1),
                gpus_per_unit: self.gpus_per_unit,
                nic_gbps_per_gpu: self.nic_gbps_per_gpu,
                cores: cores(),
                speeds: if self.is_host() { self.speeds()? } else { Speeds::ASSUMED },
            };
            return request.topology().map_err(|refused| self.refused(&refused));
        }
        let given = [
            ("--units", self.units.is_some()),
            ("--gpus-per-unit", self.gpus_per_unit.is_some()),
            ("--nic-gbps-per-gpu", self.nic_gbps_per_gpu.is_some()),
        ];
        if let Some((argument, _)) = given.iter().find(|(_, given)| *given) {
            let told = format!("{argument} changes a machine that goes by its name: say it in {}", self.on);
            return Err(Failure::new(BAD_ARGUMENTS, told));
        }
        let text = read(Path::new(&self.on))?;
        file::parse(&self.on, &text).map_err(|error| Failure::new(BAD_ARGUMENTS, error.to_string()))
    }

    /// What prices rest on where the machine is this host: the very constants of a job of as many processes here.
    pub fn host(&self) -> Result<Option<Constants>, Failure> {
        if !self.is_host() {
            return Ok(None);
        }
        let constants = Constants::of(TransportKind::Shm, self.ranks_of_host(), cores());
        Ok(Some(constants.with_speeds(self.speeds()?)))
    }

    fn is_host(&self) -> bool {
        self.on == machines::HOST
    }

    fn ranks_of_host(&self) -> usize {
        self.gpus_per_unit.unwrap_or_else(cores)
    }

    /// Measured once, unless UNISONO_CALIBRATE says otherwise.
    fn speeds(&self) -> Result<Speeds, Failure> {
        Ok(Builder::host_speeds(self.ranks_of_host())?)
    }

    fn names_a_file(&self) -> bool {
        self.on.ends_with(".toml") || self.on.contains('/')
    }

    fn refused(&self, refused: &machines::Refused) -> Failure {
        let hint = match refused {
            machines::Refused::Unknown(_) if Path::new(&self.on).is_file() => {
                format!("; for the file of this name write ./{}", self.on)
            }
            _ => String::new(),
        };
        Failure::new(BAD_ARGUMENTS, format!("{refused}{hint}"))
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number of them: write one such as 4"))
}

fn gbps(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a rate in Gbps: write one such as 400"))
}

/// Processors that this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn read(path: &Path) -> Result<String, Failure> {
    let refuse = |cause: &dyn std::fmt::Display| {
        Failure::new(BAD_ARGUMENTS, format!("can't read the machine in {}: {cause}", path.display()))
    };
    bounded::read_text(path, MOST_FILE_BYTES).map_err(|cause| refuse(&cause))
}
