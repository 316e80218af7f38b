//! The published tables.

use unisono::nccl::{Algorithm, Cpu, Generation, Network, Request, Settings, Version, World};
use unisono::{Collective, DType, ReduceOp};

/// One published table and the circumstances of its measurement.
pub struct Table {
    pub name: String,
    pub collective: Collective,
    pub generation: Generation,
    pub cpu: Cpu,
    pub nic_bytes_per_s: f64,
    pub network: Network,
    pub dtype: DType,
    pub settings: Settings,
    pub gpus_per_domain: usize,
    /// NCCL_ALGO, where the measurement set it.
    pub forced: Option<Algorithm>,
    pub source: String,
    pub points: Vec<Point>,
}

#[derive(Clone, Copy)]
pub struct Point {
    pub gpus: usize,
    pub bytes: u64,
    pub time_us: f64,
}

impl Table {
    pub fn world(&self, gpus: usize) -> World {
        let per_domain = self.gpus_per_domain.min(gpus);
        World {
            generation: self.generation,
            domains: vec![per_domain; gpus / per_domain],
            gpus_per_host: if self.cpu == Cpu::Grace { 4 } else { 8 },
            nvlink_bytes_per_s: match self.generation {
                Generation::Ampere => 300e9,
                Generation::Hopper => 450e9,
                Generation::Blackwell => 900e9,
            },
            nic_bytes_per_s: self.nic_bytes_per_s,
            network: self.network,
            cpu: self.cpu,
            in_switch: self.generation > Generation::Ampere,
        }
    }

    /// Tables of one run that differ in the element type only.
    pub fn twin(&self) -> &str {
        self.name.trim_end_matches("_f16").trim_end_matches("_i8")
    }

    pub fn request(&self) -> Request {
        Request { collective: self.collective, dtype: self.dtype, op: ReduceOp::Sum, bytes: 0 }
    }
}

pub fn read() -> Vec<Table> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fidelity/");
    let text = |name: &str| std::fs::read_to_string(format!("{folder}{name}")).expect("the published tables are here");
    let mut tables: Vec<Table> = text("tables.csv").lines().skip(1).map(table).collect();
    for line in text("points.csv").lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let point = Point { gpus: number(cells[1]), bytes: number(cells[2]), time_us: number(cells[3]) };
        tables.iter_mut().find(|one| one.name == cells[0]).expect("a point's table is listed").points.push(point);
    }
    tables
}

fn number<T: std::str::FromStr>(cell: &str) -> T {
    cell.parse().unwrap_or_else(|_| panic!("`{cell}` is no number"))
}

fn table(line: &str) -> Table {
    let cells: Vec<&str> = line.split(',').collect();
    let named = |what: &str, found: bool| assert!(found, "{what} is unknown: {line}");
    named("the cpu", ["x86", "grace"].contains(&cells[3]));
    let dtype: DType = number(cells[6]);
    let version = if cells[7].is_empty() { Version::NEWEST } else { cells[7].parse().expect("a version") };
    let environment: Vec<&str> = cells[9].split_whitespace().collect();
    let forced = environment.iter().find_map(|setting| setting.strip_prefix("NCCL_ALGO="));
    let forced = forced.map(|name| Algorithm::ALL.into_iter().find(|one| one.name() == name).expect("an algorithm"));
    Table {
        name: cells[0].to_owned(),
        collective: number(cells[1]),
        generation: Generation::ALL.into_iter().find(|one| one.name() == cells[2]).expect("a generation"),
        cpu: if cells[3] == "grace" { Cpu::Grace } else { Cpu::X86 },
        nic_bytes_per_s: number::<f64>(cells[4]) / 8.0 * 1e9,
        network: Network::ALL.into_iter().find(|one| one.name() == cells[5]).expect("a network"),
        dtype,
        settings: Settings { nvls: !environment.contains(&"NCCL_NVLS_ENABLE=0"), ..Settings::new(version) },
        gpus_per_domain: number(cells[8]),
        forced,
        source: cells[10].to_owned(),
        points: Vec::new(),
    }
}
