//! Breaks files, one small change at a time, and asks whether the checker notices what the judge sees go wrong.

use super::judge;
use super::*;
use crate::algorithm::find;
use crate::plan::Problem;
use crate::types::Collective;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Drop,
    Swap,
    Redirect,
    Resize,
    Retype,
    NoDependency,
    OtherDependency,
}

impl Change {
    const ALL: [Change; 7] = [
        Change::Drop,
        Change::Swap,
        Change::Redirect,
        Change::Resize,
        Change::Retype,
        Change::NoDependency,
        Change::OtherDependency,
    ];
}

fn files() -> Vec<String> {
    let written = |algorithm: &str, collective, ranks| {
        let problem = Problem::new(collective, ranks);
        write(&check(&find(algorithm).unwrap().plan(&problem)).unwrap(), Protocol::Simple).unwrap()
    };
    vec![
        PAIRS.to_owned(),
        gather(),
        written("ring", Collective::AllReduce, 3),
        written("two_shot", Collective::AllReduce, 3),
        written("ring", Collective::ReduceScatter, 3),
        written("bruck", Collective::AllGather, 3),
        written("bruck", Collective::AllToAll, 4),
        written("recursive_doubling", Collective::AllReduce, 3),
        written("double_tree", Collective::AllReduce, 3),
        written("binomial", Collective::Broadcast, 4),
        written("binomial", Collective::Gather, 3),
    ]
}

/// Calls `visit` with every file that differs by one change of one step.
fn for_each_mutant(document: &Document, mut visit: impl FnMut(Change, Document)) {
    for gpu in 0..document.gpus.len() {
        for block in 0..document.gpus[gpu].blocks.len() {
            let steps = &document.gpus[gpu].blocks[block].steps;
            let mut change = |change, edit: &dyn Fn(&mut Vec<Step>)| {
                let mut mutant = document.clone();
                edit(&mut mutant.gpus[gpu].blocks[block].steps);
                visit(change, mutant);
            };
            for index in 0..steps.len() {
                change(Change::Drop, &|steps| {
                    let nop = Step { kind: Kind::Nop, count: 0, ..steps[index].clone() };
                    steps[index] = nop;
                });
                if index + 1 < steps.len() {
                    change(Change::Swap, &|steps| steps.swap(index, index + 1));
                }
                for offset in [0, 1, 2, 3] {
                    change(Change::Redirect, &|steps| steps[index].source.offset = offset);
                    change(Change::Redirect, &|steps| steps[index].destination.offset = offset);
                }
                for buffer in [Buffer::Input, Buffer::Output, Buffer::Scratch] {
                    change(Change::Redirect, &|steps| steps[index].source.buffer = buffer);
                    change(Change::Redirect, &|steps| steps[index].destination.buffer = buffer);
                }
                change(Change::Resize, &|steps| steps[index].count += 1);
                for kind in Kind::ALL {
                    change(Change::Retype, &|steps| steps[index].kind = kind);
                }
                if steps[index].after.is_some() {
                    change(Change::NoDependency, &|steps| steps[index].after = None);
                }
                let blocks = (0..).zip(&document.gpus[gpu].blocks);
                for (block, step) in
                    blocks.flat_map(|(block, of)| (0..of.steps.len() as u32).map(move |step| (block, step)))
                {
                    change(Change::OtherDependency, &|steps| steps[index].after = Some(StepId { block, step }));
                }
            }
        }
    }
}

/// Whether the checker accepts a file, in both ways.
fn is_accepted(text: &str, document: &Document) -> bool {
    [Connections::Posted, Connections::Buffered]
        .into_iter()
        .all(|connections| document.plan(text, connections).is_ok_and(|reading| check(&reading.plan).is_ok()))
}

/// No change is both wrong and accepted; and of those that the judge finds right in all its runs, the checker accepts nearly all: the rest
/// are races that no run happened to lose.
#[test]
fn every_mutant_is_rejected_or_right() {
    let mut counts = [[0usize; 4]; Change::ALL.len()];
    for text in files() {
        let document = document(&text);
        judge::run_all(&document, 0..20).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"));
        for_each_mutant(&document, |change, mutant| {
            if mutant == document {
                return;
            }
            let text = mutant.to_string();
            let count = &mut counts[change as usize];
            let Ok(read) = Document::parse(&text) else {
                count[0] += 1;
                return;
            };
            match (is_accepted(&text, &read), judge::run_all(&read, 0..8)) {
                (false, Err(_)) => count[1] += 1,
                (false, Ok(())) => count[2] += 1,
                (true, Ok(())) => count[3] += 1,
                (true, Err(wrong)) => panic!("{change:?} was accepted, and {wrong}:\n{text}"),
            }
        });
    }
    println!("{:<18}{:>10}{:>10}{:>14}{:>10}", "change", "unread", "rejected", "by us alone", "right");
    for (change, [unread, both, alone, right]) in Change::ALL.iter().zip(counts) {
        println!("{:<18}{unread:>10}{both:>10}{alone:>14}{right:>10}", format!("{change:?}"));
        assert!(both + unread > 0, "no mutant by {change:?} was rejected");
    }
}
