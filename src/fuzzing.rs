//! What must hold of every parser of foreign bytes, whatever the bytes.
//!
//! A property takes bytes and panics where it is broken. It stands beside its parser, in a file `properties.rs`; the table
//! here names all of them. `ci/fuzz` searches for bytes that break one, guided by coverage; the tests below run each over the
//! files in `tests/corpus`: what a rank really sends, and what once broke something.
//!
//! A new property is a function and a line in [`TARGETS`].

mod allocation;
#[cfg(test)]
mod tests;

pub(crate) use allocation::peak_bytes;

use crate::nccl::Version;
use crate::select::rules::Rules;
use crate::size;
use crate::topology::file;
use crate::types::{Collective, DType, ReduceOp};
use crate::{bootstrap, communicator, control, plan, transport};

/// A property by its name, which is also that of its folder of corpus files.
pub struct Target {
    pub name: &'static str,
    pub property: fn(&[u8]),
}

pub const TARGETS: &[Target] = &[
    Target { name: "message", property: bootstrap::properties::message },
    Target { name: "inbox", property: bootstrap::properties::inbox },
    Target { name: "handshake", property: bootstrap::properties::handshake },
    Target { name: "door", property: bootstrap::properties::door },
    Target { name: "environment", property: environment },
    Target { name: "control", property: control::properties::frame },
    Target { name: "hello", property: communicator::properties::hello },
    Target { name: "data", property: transport::properties::data },
    Target { name: "plan", property: plan::properties::text },
    Target { name: "msccl", property: plan::properties::msccl },
    Target { name: "machine", property: machine },
    Target { name: "rules", property: rules },
    Target { name: "argument", property: argument },
];

/// Variables of launchers and our own, one `NAME=value` a line.
fn environment(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let variables: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    bootstrap::properties::job(&lookup, text.len());
    communicator::properties::settings(&lookup, text.len());
    let names = variables.iter().map(|(name, _)| (*name).to_owned());
    assert!(bootstrap::unknown_variables(names).len() <= variables.len());
}

/// A file that describes a machine. What it describes may be far larger than the text, but not without bounds.
fn machine(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match file::parse("machine.toml", text) {
        Ok(machine) => {
            assert!(machine.units() > 0 && machine.gpus() > 0);
            let again = file::print(&machine);
            assert_eq!(file::parse("again.toml", &again), Ok(machine), "{again}");
        }
        Err(error) => {
            assert!(error.line >= 1 && error.column >= 1);
            assert_one_sentence(&error.to_string(), text.len());
        }
    }
}

/// A file of a user's rules for the choice of algorithms.
fn rules(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (rules, peak) = peak_bytes(|| Rules::parse("rules.csv", text));
    assert!(peak <= 80 * text.len() + 4096, "{peak} bytes for rules of {}", text.len());
    match rules {
        Ok(rules) => {
            for rule in &rules.rules {
                let collective = rule.collective.parse().expect("a collective");
                let machine = rule.machine.as_deref().unwrap_or("host");
                let found = rules.find(collective, *rule.bytes.start(), *rule.ranks.start(), machine);
                assert_eq!(found, Some(rule), "a rule is hidden by another");
            }
        }
        Err(error) => assert_one_sentence(&error.to_string(), text.len()),
    }
}

/// Arguments of the command line that are parsed by code of our own.
fn argument(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match size::parse(text) {
        Ok(bytes) => assert_eq!(size::parse(&size::format(bytes)), Ok(bytes)),
        Err(told) => assert_one_sentence(&told, text.len()),
    }
    if let Err(told) = text.parse::<Version>() {
        assert_one_sentence(&told.to_string(), text.len());
    }
    let names = [
        text.parse::<Collective>().map(|value| value.to_string()),
        text.parse::<DType>().map(|value| value.to_string()),
        text.parse::<ReduceOp>().map(|value| value.to_string()),
    ];
    for name in names {
        match name {
            Ok(name) => assert_eq!(name, text),
            Err(unknown) => assert_one_sentence(&unknown.to_string(), text.len()),
        }
    }
}

/// A message to a user repeats at most what the user wrote, and needs no more than a line beyond that.
pub(crate) fn assert_one_sentence(told: &str, given_bytes: usize) {
    assert!(!told.is_empty());
    assert!(told.len() <= 2 * given_bytes + 600, "{} bytes are told of {given_bytes}", told.len());
}
