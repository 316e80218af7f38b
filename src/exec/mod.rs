//! Execution: one rank's lowered program over links. It decides nothing; plans do.

pub mod links;
#[cfg(test)]
mod revoke_tests;
pub mod run;
mod stream;
#[cfg(test)]
mod stress;
