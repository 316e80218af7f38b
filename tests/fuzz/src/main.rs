//! Searches for bytes that break a property of `unisono::fuzzing`. The property is named by `UNISONO_FUZZ`; the rest is libFuzzer's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use unisono::fuzzing::TARGETS;

static PROPERTY: OnceLock<fn(&[u8])> = OnceLock::new();

fn property() -> fn(&[u8]) {
    let name = std::env::var("UNISONO_FUZZ").unwrap_or_default();
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => target.property,
        None => {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            eprintln!("UNISONO_FUZZ={name} is not one of {}", names.join(" "));
            std::process::exit(2);
        }
    }
}

fuzz_target!(|bytes: &[u8]| PROPERTY.get_or_init(property)(bytes));
