//! The machine as data: GPUs in units, what joins them, and where every number comes from.
//!
//! A [`Topology`] is a row of [units](Unit) (UltraServers, racks, instances), each a small directed graph of GPUs, switches and
//! NICs, and a [network](Network) that joins all NICs. Units of one kind share one description, so that half a million GPUs take
//! no more memory than one rack. Everything that can be busy (a link, a shared limit, a unit's way into an oversubscribed
//! spine) is a [resource](ResourceId) with a rate; a message takes a [`Route`]: a latency and the resources that its bytes
//! pass. Prices and the simulation know nothing else of a machine.
//!
//! [`machines`] are known by name, a [`file`](mod@file) describes any other; [`bound`](mod@bound) says how fast collectives can be on one at best, and
//! [`drawing`] draws it.
//!
//! GPUs that reach each other without a NIC are a *domain*; [`Layout`] says which ranks share one, and is all that
//! algorithms are told.

pub mod bound;
pub mod drawing;
pub mod fabric;
pub mod file;
pub mod host;
pub mod layout;
pub mod machines;
pub mod outline;
pub mod placement;
pub mod quantity;
#[cfg(test)]
mod random;
pub mod summary;
pub mod unit;

pub use fabric::{Gaps, Gpu, Network, Reached, ResourceId, Route, Run, Topology};
pub use layout::Layout;
pub use quantity::{Constant, Origin, Quantity};
pub use unit::{Limit, Link, LinkClass, Node, NodeKind, Unit};
