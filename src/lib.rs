//! Collective communication for distributed training.
//!
//! **An algorithm writes a Plan; everything else reads it**: the same plan is proved correct, priced, and run among
//! threads, processes and hosts.

pub mod algorithm;
pub mod bootstrap;
mod clock;
mod communicator;
mod control;
pub mod error;
mod exec;
mod fork;
pub mod plan;
pub mod reduce;
pub mod select;
pub mod topology;
mod transport;
pub mod types;

pub use communicator::{
    AbortHandle, Builder, Communicator, DEFAULT_TIMEOUT, Group, Handle, Options, Progress, Scope, ScopedHandle,
    StableBuffer, Window, With,
};
pub use error::{Error, ErrorKind, Result};
pub use transport::TransportKind;
pub use types::{Collective, DType, Element, F8E4M3, F8E5M2, Rank, ReduceOp, UnknownName};
