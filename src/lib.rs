//! Collective communication for distributed training.
//!
//! **An algorithm writes a Plan; everything else reads it**: the same plan is proved correct, priced, and run among
//! threads, processes and hosts.

pub mod algorithm;
pub mod bootstrap;
pub mod error;
pub mod plan;
pub mod types;

pub use error::{Error, ErrorKind, Result};
pub use types::{Collective, DType, Element, F8E4M3, F8E5M2, Rank, ReduceOp, UnknownName};
