//! Execution: one rank's lowered program over links. It decides nothing; plans do.

pub mod links;
pub mod run;
#[cfg(test)]
mod stress;
