//! Machines in files, for those that no preset describes.
//!
//! A file is [TOML](https://toml.io). Most of a machine is a few lines:
//!
//! ```
//! let machine = unisono::topology::file::parse("lab.toml", r#"
//! name = "lab"
//!
//! [network]
//! name = "RoCE"
//! latency_us = 12          # of a small message, from NIC to NIC
//! unit_gb_per_s = 200      # what a unit may send, and receive: leave it out where the spine is not oversubscribed
//!
//! [[unit]]                 # a server
//! name = "server"
//! count = 3
//! gpus = 8                 # gpu0 to gpu7
//!
//! [[unit.switch]]          # one that joins all GPUs, each by a link of its own
//! name = "nvswitch"
//! gb_per_s = 450           # of each link, each direction
//! latency_us = 0.4         # of each link: from GPU to GPU it is twice that
//! reduces = true           # it can add up and multicast (NVLS)
//!
//! [[unit.nic]]             # nic0 of gpu0 and gpu1, nic1 of gpu2 and gpu3...
//! name = "nic"
//! every = 2
//! gbps = 200               # of each GPU's link to the NIC
//! shared_gbps = 200        # and of both together
//!
//! [[unit]]                 # another server, to which much has happened
//! name = "old"
//! like = "server"
//! missing = [6]            # gpu6 is not there, nor its links
//! degraded = [{ links = ["gpu5 -> nvswitch", "nvswitch -> gpu5"], share = 0.5 }]
//! "#)?;
//! assert_eq!((machine.units(), machine.gpus()), (4, 31));
//! assert_eq!(unisono::topology::file::parse("again", &unisono::topology::file::print(&machine)), Ok(machine));
//! # Ok::<(), unisono::topology::file::FileError>(())
//! ```
//!
//! A unit can also be a preset's, whole or in part; GPU, network and constants are then the preset's unless the file says
//! otherwise:
//!
//! ```
//! # let machine = unisono::topology::file::parse("racks.toml", r#"
//! [[unit]]
//! like = "p6e-gb200x72"
//! count = 15
//!
//! [[unit]]                    # a rack with a compute tray out of service
//! like = "p6e-gb200x72"
//! missing = [20, 21, 22, 23]
//! # "#)?;
//! # assert_eq!((machine.gpus(), machine.network.name.as_str(), machine.kinds.len()), (15 * 72 + 68, "EFA", 2));
//! # Ok::<(), unisono::topology::file::FileError>(())
//! ```
//!
//! # All keys
//!
//! | table | keys |
//! |---|---|
//! | the file | `name`, `[gpu]`, `[network]`, `[reached]`, `[gap]`, `[[unit]]`, `[[constant]]` |
//! | `gpu` | `model`, `memory_gb_per_s` (8000) |
//! | `network` | `name`, `latency_us` (0), `unit_gb_per_s` (no limit) |
//! | `reached` | shares of the rates that kernels reach: `domain`, `switch`, `network` (1) |
//! | `gap` | what each message takes of a port besides the time of its bytes: `domain_us`, `network_us` (0) |
//! | `unit` | `name`, `count` (1), `gpus`: a number or a list of names, `gpus_per_host`, `missing`: numbers of GPUs from 0, `[[unit.switch]]`, `[[unit.nic]]`, `[[unit.link]]`, `[[unit.limit]]`, `[[unit.degraded]]` |
//! | `unit` with `like` | `like`: an earlier unit or a preset, `name`, `count`, `missing`, `degraded`; of a preset also `gpus`, `nic_gbps_per_gpu` |
//! | `switch`, `nic` | `name`, a rate, `latency_us` (0); what it has links to and from: all GPUs, or `every` so many GPUs one such node, or `joins = ["leaf0", "gpu1*"]`; `cards` side by side with the same links (1); `shared_gb_per_s` of all of them, each direction; `class`; a switch also `reduces` (false) |
//! | `link` | `from`, `to`, a rate, `latency_us` (0), `both_ways` (false), `class` (`nvlink`) |
//! | `limit` | a rate that `links = ["gpu0 -> nic0", "gpu1 -> *"]` share, `name` |
//! | `degraded` | `links`, `share` of their rate that is left |
//! | `constant` | a number with its birthplace, for those who read explanations: `name`, `value`, `unit`, `origin`, `source` |
//!
//! Rates are `gb_per_s`, `gbps` or `bytes_per_s`, with the prefix of their table if they have one; latencies and gaps in `_us` or
//! `_ns`. A `*` at the end of a name stands for any rest. Classes are `nvlink`, `host`, `nic` and `network`. Switches can
//! join switches (a domain of leaves and a spine), and NICs too (several of both behind a PCIe switch).
//!
//! Every GPU must reach every other. What is wrong is told with the file, the line and the column.

mod read;
mod recognise;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use table::FileError;
pub use write::print;

use super::fabric::Topology;
use table::Table;

/// The machine that a text describes; `file` is its name in what is told of it.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(file: &str, text: &str) -> Result<Topology, FileError> {
    let read = || {
        let root = table::parse(text)?;
        let root = Table::new(root.get_ref(), 0, "a machine");
        let topology = read::topology(&root)?;
        root.finish()?;
        Ok(topology)
    };
    read().map_err(|complaint: table::Complaint| complaint.in_file(file, text))
}
