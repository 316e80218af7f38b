//! The machine as data.

pub mod host;
