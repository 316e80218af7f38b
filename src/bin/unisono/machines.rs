//! `unisono machines`: what is known by name, and where its numbers come from.

use crate::failure::Failure;
use crate::output::Output;
use serde::Serialize;
use unisono::topology::machines::{self, HOST, Request};
use unisono::topology::{Constant, LinkClass, Topology};
use unisono::words::{counted, short_figure};

/// List the machines that go by a name, or the constants of one of them
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// This machine only, with every constant and its source
    #[arg(value_name = "MACHINE")]
    machine: Option<String>,

    /// One JSON object a line instead of the table
    #[arg(long)]
    json: bool,
}

/// One unit of a machine.
#[derive(Serialize)]
struct Row {
    name: String,
    unit: String,
    gpu: String,
    gpus: usize,
    gpus_per_host: usize,
    /// Of a GPU, each direction. Null where it has none.
    nvlink_gb_per_s: Option<f64>,
    nic_gbps: Option<f64>,
    /// Of a unit, each direction.
    nvlink_of_unit_tb_per_s: Option<f64>,
    network_of_unit_tbps: Option<f64>,
    network: String,
    in_switch_reduction: bool,
    /// Names of the constants that nobody published or measured.
    assumed: Vec<String>,
    constants: Vec<Constant>,
}

impl Arguments {
    pub fn run(self) -> Result<u8, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let names: Vec<&str> = match &self.machine {
            Some(name) => vec![name],
            None => machines::names().collect(),
        };
        let mut rows = Vec::new();
        for name in names {
            let topology = Request { cores, ..Request::new(name) }
                .topology()
                .map_err(|refused| Failure::new(crate::failure::BAD_ARGUMENTS, refused.to_string()))?;
            rows.push(Row::new(&topology));
        }
        let mut output = Output::stdout();
        if self.json {
            return rows.iter().try_for_each(|row| output.json(row)).map(|()| 0);
        }
        output.line("# machine         GPUs  GPU     NVLink GB/s   NIC Gbps  network     NVLS  assumed")?;
        for row in &rows {
            output.line(&row.line())?;
        }
        match &rows[..] {
            [row] if self.machine.is_some() => {
                row.constants.iter().try_for_each(|constant| output.line(&constant_line(constant)))?;
            }
            _ => output.line(
                "# rates of one GPU, each direction; `unisono machines MACHINE` shows all constants with their sources",
            )?,
        }
        Ok(0)
    }
}

impl Row {
    fn new(topology: &Topology) -> Row {
        let unit = &topology.kinds[0];
        let of_unit = |class| Some(unit.bytes_per_s_out(class)).filter(|rate| *rate > 0.0);
        let each = |total: Option<f64>, scale: f64| total.map(|rate| rate / unit.gpus() as f64 * scale);
        let (nvlink, nic) = (of_unit(LinkClass::NvLink), of_unit(LinkClass::Nic));
        Row {
            name: topology.name.clone(),
            unit: unit.name.clone(),
            gpu: topology.gpu.model.clone(),
            gpus: unit.gpus(),
            gpus_per_host: unit.gpus_per_host,
            nvlink_gb_per_s: each(nvlink, 1e-9),
            nic_gbps: each(nic, 8e-9),
            nvlink_of_unit_tb_per_s: nvlink.map(|rate| rate / 1e12),
            network_of_unit_tbps: nic.map(|rate| rate * 8.0 / 1e12),
            network: topology.network.name.clone(),
            in_switch_reduction: topology.reduces_in_switch(),
            assumed: topology.assumed().map(|constant| constant.name.to_string()).collect(),
            constants: topology.constants.clone(),
        }
    }

    fn line(&self) -> String {
        let rate = |value: Option<f64>| value.map_or("-".to_owned(), |value| value.to_string());
        let nvls = if self.in_switch_reduction { "yes" } else { "no" };
        let assumed = if self.assumed.is_empty() { "-".to_owned() } else { self.assumed.join("; ") };
        let gpus = if self.name == HOST { counted(self.gpus, "core") } else { self.gpus.to_string() };
        format!(
            "{:<15} {gpus:>6}  {:<6} {:>12} {:>10}  {:<10}  {nvls:<4}  {assumed}",
            self.name,
            self.gpu,
            rate(self.nvlink_gb_per_s),
            rate(self.nic_gbps),
            self.network
        )
    }
}

/// One constant with its source.
pub fn constant_line(constant: &Constant) -> String {
    let Constant { name, unit, quantity } = constant;
    let value = short_figure(quantity.value);
    let value = if unit == "share" { value } else { format!("{value} {unit}") };
    format!("  {name:<39} {value:>11}  {:<9}  {}", quantity.origin.name(), quantity.source)
}
