//! Which machine, and what is asked of it: the arguments that `plan`, `simulate` and `bound` share.

use crate::failure::{BAD_ARGUMENTS, Failure};
use crate::size;
use unisono::topology::Topology;
use unisono::topology::machines::Request;
use unisono::{Collective, DType};

#[derive(clap::Args, Clone, Debug)]
pub struct Machine {
    /// A machine of `unisono machines`, or a TOML file that describes one
    #[arg(long, value_name = "MACHINE|FILE.toml")]
    pub on: String,

    /// UltraServers, racks or instances
    #[arg(long, default_value_t = 1, value_name = "K")]
    pub units: usize,

    /// GPUs of each unit that take part; all unless given
    #[arg(long, value_name = "M")]
    pub gpus_per_unit: Option<usize>,

    /// What a GPU can send to the network and receive, in Gbps
    #[arg(long, value_name = "G")]
    pub nic_gbps_per_gpu: Option<f64>,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Question {
    /// all_reduce, all_gather, reduce_scatter, all_to_all, broadcast, reduce, ...
    pub collective: Collective,

    #[command(flatten)]
    pub machine: Machine,

    /// Sizes, as nccl-tests counts bytes
    #[arg(long, value_name = "B[,B...]", value_delimiter = ',', required = true, value_parser = size::parse)]
    pub bytes: Vec<u64>,

    /// i8, u8, i32, u32, i64, u64, f16, bf16, f32, f64, fp8-e4m3 or fp8-e5m2
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    pub dtype: DType,
}

impl Machine {
    pub fn topology(&self) -> Result<Topology, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let request = Request {
            machine: &self.on,
            units: self.units,
            gpus_per_unit: self.gpus_per_unit,
            nic_gbps_per_gpu: self.nic_gbps_per_gpu,
            cores,
        };
        request.topology().map_err(|refused| Failure::new(BAD_ARGUMENTS, refused.to_string()))
    }
}
