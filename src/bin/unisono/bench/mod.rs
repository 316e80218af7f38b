//! `unisono bench`: times a collective over a sweep of sizes.

mod arguments;
mod row;
mod statistics;
mod table;
