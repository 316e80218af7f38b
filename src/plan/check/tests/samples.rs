//! Small plans that are right, written for these tests alone.

use crate::plan::build::*;
use crate::plan::{Buffer, Plan, Problem, Program, Reduction, Step};
use crate::types::{Collective, Rank};

pub(crate) fn problem(collective: Collective, ranks: usize) -> Problem {
    Problem::new(collective, ranks)
}

/// One of each family, small enough that all their mutants are tried.
pub(crate) fn all() -> Vec<Plan> {
    vec![
        ring_all_reduce(4),
        direct_all_gather(4, false),
        direct_all_gather(3, true),
        ring_all_gather(3),
        two_shot(3),
        direct_all_to_all(3),
        chain_broadcast(4, 4),
        chain_reduce(4, 3),
        tree_reduce(6, 3),
        tree_all_reduce(5, 3),
        dissemination_barrier(5),
        pairs_all_reduce(3),
    ]
}

fn lane(moves: Vec<crate::plan::Move>) -> Program {
    Program::of(moves.into_iter().map(Step::Move).collect())
}

/// Fused receive, reduce and forward; partial sums travel once around, sums once more.
pub(crate) fn ring_all_reduce(ranks: usize) -> Plan {
    Plan::new("ring", problem(Collective::AllReduce, ranks), ranks as u32, move |rank| {
        let (next, previous) = (peer((rank + 1) % ranks), peer((rank + ranks - 1) % ranks));
        let chunk = |back: usize| ((rank + 2 * ranks - back) % ranks) as u32;
        let mut moves = vec![copy(one(Buffer::Input, chunk(0)), [next])];
        for step in 1..2 * ranks - 1 {
            let (mine, out) = (one(Buffer::Input, chunk(step)), one(Buffer::Output, chunk(step)));
            moves.push(match step {
                _ if step < ranks - 1 => reduce(Reduction::Partial, [mine, previous], [out, next]),
                _ if step == ranks - 1 => reduce(Reduction::Final, [mine, previous], [out, next]),
                _ if step < 2 * ranks - 2 => copy(previous, [out, next]),
                _ => copy(previous, [out]),
            });
        }
        lane(moves)
    })
}

pub(crate) fn ring_all_gather(ranks: usize) -> Plan {
    Plan::new("ring", problem(Collective::AllGather, ranks), 1, move |rank| {
        let (next, previous) = (peer((rank + 1) % ranks), peer((rank + ranks - 1) % ranks));
        let out = |back: usize| one(Buffer::Output, ((rank + ranks - back) % ranks) as u32);
        let mut moves = vec![copy(one(Buffer::Input, 0), [out(0), next])];
        moves.extend((1..ranks - 1).map(|step| copy(previous, [out(step), next])));
        moves.push(copy(previous, [out(ranks - 1)]));
        lane(moves)
    })
}

pub(crate) fn direct_all_gather(ranks: usize, uneven: bool) -> Plan {
    let problem = Problem { uneven, ..problem(Collective::AllGather, ranks) };
    Plan::new("direct", problem, 1, move |rank| {
        let others = || (1..ranks).map(|distance| (rank + distance) % ranks);
        let mut everywhere = vec![one(Buffer::Output, rank as u32)];
        everywhere.extend(others().map(peer));
        let mut moves = vec![copy(one(Buffer::Input, 0), everywhere)];
        moves.extend(others().map(|other| copy(peer(other), [one(Buffer::Output, other as u32)])));
        lane(moves)
    })
}

pub(crate) fn direct_all_to_all(ranks: usize) -> Plan {
    let problem = Problem { uneven: true, ..problem(Collective::AllToAll, ranks) };
    Plan::new("direct", problem, 1, move |rank| {
        let others = || (1..ranks).map(|distance| (rank + distance) % ranks);
        let mut moves = vec![copy(one(Buffer::Input, rank as u32), [one(Buffer::Output, rank as u32)])];
        moves.extend(others().map(|other| copy(one(Buffer::Input, other as u32), [peer(other)])));
        moves.extend(others().map(|other| copy(peer(other), [one(Buffer::Output, other as u32)])));
        lane(moves)
    })
}

/// Everyone owns a chunk, folds it in rank order and stores the sum everywhere.
pub(crate) fn two_shot(ranks: usize) -> Plan {
    Plan::new("two_shot", problem(Collective::AllReduce, ranks), ranks as u32, move |rank| {
        let others = || (1..ranks).map(|distance| (rank + distance) % ranks);
        let mut moves: Vec<_> = others().map(|other| copy(one(Buffer::Input, other as u32), [peer(other)])).collect();
        let own = rank as u32;
        let sources: Vec<_> =
            (0..ranks).map(|other| if other == rank { one(Buffer::Input, own) } else { peer(other) }).collect();
        let mut everywhere = vec![one(Buffer::Output, own)];
        everywhere.extend(others().map(peer));
        moves.push(reduce(Reduction::Final, sources, everywhere));
        moves.extend(others().map(|other| copy(peer(other), [one(Buffer::Output, other as u32)])));
        lane(moves)
    })
}

/// Two lanes on a channel each, one for either half of the blocks, each pipelined over tiles.
pub(crate) fn chain_broadcast(ranks: usize, tiles: u32) -> Plan {
    let problem = Problem { tiles, ..problem(Collective::Broadcast, ranks) };
    Plan::new("chain", problem, 2, move |rank| {
        let half = |block: u32| {
            let (input, output) = (Buffer::Input, Buffer::Output);
            let tile = |buffer| striding(buffer, block * tiles, 1, 1);
            let (next, previous) = (peer_on(rank + 1, block as u16), peer_on(rank.wrapping_sub(1), block as u16));
            let body = match rank {
                0 => copy(tile(input), [tile(output), next]),
                _ if rank + 1 < ranks => copy(previous, [tile(output), next]),
                _ => copy(previous, [tile(output)]),
            };
            vec![Step::Repeat { count: tiles, body: vec![body] }]
        };
        Program { lanes: vec![half(0), half(1)], scratch: Vec::new() }
    })
}

/// Inner ranks have no memory for the partial sum: all moves of a tile complete together.
pub(crate) fn chain_reduce(ranks: usize, tiles: u32) -> Plan {
    let problem = Problem { tiles, ..problem(Collective::Reduce, ranks) };
    Plan::new("chain", problem, 1, move |rank| {
        let (mine, out) = (striding(Buffer::Input, 0, 1, 1), striding(Buffer::Output, 0, 1, 1));
        let body = match rank {
            0 => reduce(Reduction::Final, [mine, peer(1)], [out]),
            _ if rank + 1 < ranks => reduce(Reduction::Partial, [mine, peer(rank + 1)], [peer(rank - 1)]),
            _ => copy(mine, [peer(rank - 1)]),
        };
        Program::of(vec![Step::Repeat { count: tiles, body: vec![body] }])
    })
}

fn children(ranks: usize, rank: Rank) -> impl Iterator<Item = Rank> {
    (2 * rank + 1..=2 * rank + 2).filter(move |&child| child < ranks)
}

/// A binary heap; inner ranks fold into scratch, and pass on from there.
pub(crate) fn tree_reduce(ranks: usize, tiles: u32) -> Plan {
    let problem = Problem { tiles, ..problem(Collective::Reduce, ranks) };
    Plan::new("tree", problem, 1, move |rank| {
        let mine = striding(Buffer::Input, 0, 1, 1);
        let mut sources = vec![mine];
        sources.extend(children(ranks, rank).map(peer));
        let body = match rank {
            0 => reduce(Reduction::Final, sources, [striding(Buffer::Output, 0, 1, 1)]),
            _ if sources.len() > 1 => {
                let slot = striding(Buffer::Scratch, 0, 1, 1);
                reduce(Reduction::Partial, sources, [slot, peer((rank - 1) / 2)])
            }
            _ => copy(mine, [peer((rank - 1) / 2)]),
        };
        let scratch = if rank == 0 { Vec::new() } else { (0..tiles).collect() };
        Program { lanes: vec![vec![Step::Repeat { count: tiles, body: vec![body] }]], scratch }
    })
}

/// Up in one lane, down in another, through the output: only messages order the two.
pub(crate) fn tree_all_reduce(ranks: usize, tiles: u32) -> Plan {
    let problem = Problem { tiles, ..problem(Collective::AllReduce, ranks) };
    Plan::new("tree", problem, 1, move |rank| {
        let (mine, out) = (striding(Buffer::Input, 0, 1, 1), striding(Buffer::Output, 0, 1, 1));
        let mut sources = vec![mine];
        sources.extend(children(ranks, rank).map(peer));
        let mut below = vec![out];
        below.extend(children(ranks, rank).map(|child| peer_on(child, 1)));
        let repeat = |body| vec![Step::Repeat { count: tiles, body: vec![body] }];
        let lanes = match rank {
            0 => vec![repeat(reduce(Reduction::Final, sources, below))],
            _ => {
                let parent = (rank - 1) / 2;
                let up = match sources.len() {
                    1 => copy(mine, [peer(parent)]),
                    _ => reduce(Reduction::Partial, sources, [out, peer(parent)]),
                };
                vec![repeat(up), repeat(copy(peer_on(parent, 1), below))]
            }
        };
        Program { lanes, scratch: Vec::new() }
    })
}

/// A lane for each peer, and one that waits for all their parts, folds, and is waited for.
pub(crate) fn pairs_all_reduce(ranks: usize) -> Plan {
    Plan::new("pairs", problem(Collective::AllReduce, ranks), ranks as u32, move |rank| {
        let own = rank as u32;
        let fold_lane = ranks as u32 - 1;
        let mut lanes: Vec<Vec<Step>> = (1..ranks)
            .map(|distance| {
                let other = (rank + distance) % ranks;
                let slot = one(Buffer::Scratch, distance as u32 - 1);
                vec![
                    Step::Move(copy(one(Buffer::Input, other as u32), [peer(other)])),
                    Step::Move(copy(peer(other), [slot])),
                    Step::Wait { lane: fold_lane, step: fold_lane },
                    Step::Move(copy(one(Buffer::Output, own), [peer(other)])),
                    Step::Move(copy(peer(other), [one(Buffer::Output, other as u32)])),
                ]
            })
            .collect();
        let mut fold: Vec<Step> = (0..fold_lane).map(|lane| Step::Wait { lane, step: 1 }).collect();
        let parts = [one(Buffer::Input, own)].into_iter().chain((0..fold_lane).map(|slot| one(Buffer::Scratch, slot)));
        let output = one(Buffer::Output, own);
        fold.push(Step::Move(reduce(Reduction::Final, parts.collect::<Vec<_>>(), [output])));
        lanes.push(fold);
        Program { lanes, scratch: vec![own; ranks - 1] }
    })
}

pub(crate) fn dissemination_barrier(ranks: usize) -> Plan {
    Plan::new("dissemination", problem(Collective::Barrier, ranks), 1, move |rank| {
        let mut moves = Vec::new();
        let rounds = ranks.next_power_of_two().trailing_zeros();
        // What is posted can't be overwritten, so rounds have a place each; the last is the output.
        let place = |round: u32| match round {
            0 => one(Buffer::Input, 0),
            _ if round == rounds => one(Buffer::Output, 0),
            _ => one(Buffer::Scratch, round - 1),
        };
        for round in 0..rounds {
            let distance = 1 << round;
            let (target, source) = ((rank + distance) % ranks, (rank + ranks - distance) % ranks);
            moves.push(copy(place(round), [peer(target)]));
            moves.push(reduce(Reduction::Final, [place(round), peer(source)], [place(round + 1)]));
        }
        Program { scratch: vec![0; rounds as usize - 1], ..lane(moves) }
    })
}
