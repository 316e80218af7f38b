//! How ranks that are processes find and trust each other, and how they talk beside the data.
//!
//! [`Job::from_environment`] reads who this process is; [`World::join`] blocks until all ranks have met. After that a world
//! knows every rank's host and hello, carries announcements, questions and answers, notices when a process ends, and opens
//! authenticated connections and hands over file descriptors for the data transports. It knows nothing of plans or data.
//!
//! | file | what |
//! |---|---|
//! | `environment`, `variables` | launcher environments; our own variables |
//! | `host` | which host this is |
//! | `secret` | the challenge that opens every connection |
//! | `wire`, `message` | frames; what they say |
//! | `door`, `dial` | letting in, connecting |
//! | `rendezvous` | rank 0 as the meeting point |
//! | `graph`, `link`, `mesh`, `worker`, `mailbox` | control connections, announcements, death |
//! | `survey`, `ranks` | questions to all ranks, and their answers gathered on the way |
//! | `handle`, `socket`, `fork` | file descriptors; what std lacks about sockets; forked children |
//!
//! # What is protected, and what is not
//! Every connection proves both ends before anything is parsed: by the secret across hosts, by the kernel's word about the
//! user on one. Nothing listens on more than one address. Nothing is encrypted: who can read or change packets between hosts
//! can read or change data.

mod dial;
mod door;
mod environment;
mod fork;
mod graph;
mod handle;
mod host;
mod link;
mod mailbox;
mod mesh;
mod message;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod ranks;
mod rendezvous;
mod secret;
mod socket;
mod survey;
mod variables;
mod wire;
mod worker;
mod world;

pub use environment::{Job, JobKey, Launcher, Meeting};
pub use host::HostId;
pub use mailbox::ControlSink;
pub use message::{MAX_ANSWER_BYTES, Tag};
pub use ranks::RankSet;
pub use secret::Key;
pub use variables::{KNOWN_VARIABLES, unknown_variables};
pub use wire::MAX_PAYLOAD_BYTES;
pub use world::{Peer, World};

/// Most ranks of a world, so that a set of them fits into a frame.
pub const MAX_RANKS: usize = 1 << 17;

#[cfg(test)]
mod process_tests;
#[cfg(test)]
mod world_tests;
