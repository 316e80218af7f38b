//! What README.md says of the library is what the library says of itself.

use unisono::algorithm::registry;
use unisono::bootstrap::KNOWN_VARIABLES;
use unisono::plan::Problem;
use unisono::{Collective, DType, ReduceOp, TransportKind};

const README: &str = include_str!("../README.md");

#[test]
fn every_environment_variable_is_explained() {
    for (name, meaning) in KNOWN_VARIABLES {
        let row = format!("| {name} | {meaning} |");
        assert!(README.lines().any(|line| line == row), "README.md lacks the line\n{row}");
    }
}

#[test]
fn the_program_is_the_example() {
    let example = include_str!("../examples/all_reduce.rs");
    let (_, program) = example.split_once("\n\n").expect("a doc comment, then the program");
    assert!(README.contains(&format!("```rust\n{program}```")), "README.md shows another program than the example");
}

#[test]
fn every_type_operation_and_transport_is_named() {
    let types = DType::ALL.map(DType::name);
    let operations = ReduceOp::ALL.map(ReduceOp::name);
    assert!(README.contains(&format!("- Types: {}.", types.join(", "))), "{types:?}");
    assert!(README.contains(&format!("- Operations: {} (", operations.join(", "))), "{operations:?}");
    for transport in TransportKind::ALL {
        assert!(README.contains(&format!("`{transport}` between")), "{transport}");
    }
}

/// The table of collectives names exactly the algorithms that serve each, among some number of ranks.
#[test]
fn every_collective_has_its_algorithms() {
    for collective in Collective::ALL.into_iter().filter(|collective| *collective != Collective::SendRecv) {
        let row = README
            .lines()
            .find(|line| line.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("`{collective}`"))))
            .unwrap_or_else(|| panic!("README.md has no row for {collective}"));
        let named: Vec<&str> = row.split('|').nth(4).expect("four cells").trim().split(", ").collect();
        let fits = |ranks| Problem { uneven: collective.is_uneven(), ..Problem::new(collective.even(), ranks) };
        let serving: Vec<&str> = registry()
            .iter()
            .filter(|algorithm| [2, 3, 4, 8].into_iter().any(|ranks| algorithm.fits(&fits(ranks)).is_ok()))
            .map(|algorithm| algorithm.name())
            .collect();
        assert_eq!(named, serving, "{collective}");
    }
}
