//! Collective communication for distributed training.
//!
//! **An algorithm writes a Plan; everything else reads it**: the same plan is proved correct, priced, and run among
//! threads, processes and hosts.
//!
//! ```
//! use unisono::{Communicator, ReduceOp};
//!
//! // Started alone this is a world of one rank, by `unisono launch -n 4` one of four processes.
//! let mut communicator = Communicator::from_env()?;
//! let mut gradients = vec![1.0f32; 1000];
//! communicator.all_reduce_in_place(&mut gradients, ReduceOp::Sum)?;
//! assert!(gradients.iter().all(|sum| *sum == communicator.size() as f32));
//! # Ok::<(), unisono::Error>(())
//! ```
//!
//! | to | look at |
//! |---|---|
//! | call collectives | [`Communicator`]; one call's timeout and algorithm: [`Options`]; sends and receives: [`Communicator::group`] |
//! | compute meanwhile | [`Handle`] of buffers it owns, [`Communicator::scope`] for borrowed ones, [`Progress`] |
//! | make communicators | [`Communicator::from_env`], [`Communicator::local`], [`Builder`], [`Communicator::split`] |
//! | know what sums mean | [`mod@reduce`]: order, roundings, NaN, ±0, overflow, averages of integers |
//! | handle failures | [`Error`], [`ErrorKind`], [`Communicator::abort`] |
//! | know what was done before one | [`Communicator::recent_operations`], [`Communicator::write_record`], UNISONO_RECORD |
//! | start a job | [`bootstrap`]: launchers, environment variables, what is protected and what is not |
//! | know which transports were chosen | [`Communicator::describe`], UNISONO_EXPLAIN |
//! | know why an algorithm runs | [`Communicator::explain`], [`select`] |
//! | describe a machine | [`topology::machines`] by name, [`topology::file`] for any other |
//! | know what is possible | [`topology::bound`](mod@topology::bound): lower bounds on any machine |
//! | write an algorithm | [`plan`], [`mod@algorithm`], and [`plan::check`](mod@plan::check) that proves it |
//!
//! ## The modules
//! Arrows point one way: [`types`] ← [`topology`] ← [`plan`] ← [`mod@algorithm`] ← [`select`] ← the communicator; transports know bytes
//! and peers, never plans. `topology`, `plan`, `algorithm` and `select` are pure: no clock, thread, socket or environment.
//!
//! | module | what |
//! |---|---|
//! | [`types`], [`error`] | the field's words; the one error |
//! | [`topology`] | what the machine is |
//! | [`plan`] | what every rank does, as data; its proof, price, text and lowering |
//! | [`mod@algorithm`] | writers of plans, and their registry |
//! | [`select`] | the choice among them, equal on all ranks |
//! | [`nccl`] | what NCCL takes for the same call, and what it picks |
//! | `transport` | how bytes get to a peer |
//! | [`mod@reduce`] | the arithmetic |
//! | `exec` | runs a rank's program over transports |
//! | [`bootstrap`] | how processes find and trust each other |
//! | `control` | who entered which call, who is gone, the first failure |
//! | `communicator` | the public face, re-exported here |

mod affinity;
pub mod algorithm;
pub mod bootstrap;
mod calibrate;
mod clock;
mod communicator;
mod control;
pub mod error;
mod exec;
mod fork;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod nccl;
pub mod plan;
pub mod reduce;
pub mod room;
pub mod select;
pub mod size;
pub mod topology;
mod transport;
pub mod types;
pub mod words;

pub use communicator::{
    AbortHandle, Builder, Communicator, DEFAULT_TIMEOUT, Group, Handle, Options, Progress, Scope, ScopedHandle,
    StableBuffer, Window, With,
};
pub use control::recorder::RecordedOperation;
pub use error::{Error, ErrorKind, Result};

pub use types::{Collective, DType, Element, F8E4M3, F8E5M2, Rank, ReduceOp, TransportKind, UnknownName};

/// The programs that README.md shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
