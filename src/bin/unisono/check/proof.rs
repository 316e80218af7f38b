//! Proves all plans of one algorithm for one collective and number of ranks.

use serde::Serialize;
use std::time::Instant;
use unisono::Collective;
use unisono::algorithm::Algorithm;
use unisono::plan::Problem;
use unisono::plan::check::{Checked, Facts, Flaw, check, check_lowered_at, keeps_promise};
use unisono::topology::Layout;

/// Up to here plans are also proved as lowered; their proof takes time in proportion to elements, and not only to moves.
const MOST_RANKS_LOWERED: usize = 33;

/// One line of `--json`. Costs are the largest over all plans.
#[derive(Clone, Debug, Serialize)]
pub struct Proved {
    pub algorithm: &'static str,
    pub collective: &'static str,
    pub ranks: usize,
    /// Plans proved: one for each root and number of tiles.
    pub plans: u64,
    /// Messages on the longest chain.
    pub hops: u32,
    /// Chunks of the rank that sends, or receives, most.
    pub chunks_sent: u64,
    pub chunks_received: u64,
    pub messages_sent: u64,
    /// Of all ranks.
    pub moves: u64,
    pub scratch_chunks: u32,
    pub lanes: u32,
    pub bit_equal: bool,
    pub elapsed_ms: f64,
    /// Plans that failed, and the first of them in words.
    pub flaws: u64,
    pub flaw: Option<String>,
    /// Plans too large to be proved, and the first of them in words.
    pub unproved: u64,
    pub why_unproved: Option<String>,
}

/// Why a plan is not proved, in words.
enum Refused {
    Flawed(String),
    /// Nothing is known of it.
    TooLarge(String),
}

pub fn prove(algorithm: &dyn Algorithm, collective: Collective, ranks: usize) -> Proved {
    let started = Instant::now();
    let mut proved = Proved {
        algorithm: algorithm.name(),
        collective: collective.name(),
        ranks,
        plans: 0,
        hops: 0,
        chunks_sent: 0,
        chunks_received: 0,
        messages_sent: 0,
        moves: 0,
        scratch_chunks: 0,
        lanes: 0,
        bit_equal: true,
        elapsed_ms: 0.0,
        flaws: 0,
        flaw: None,
        unproved: 0,
        why_unproved: None,
    };
    for problem in problems(algorithm, collective, ranks) {
        match prove_one(algorithm, &problem) {
            Ok(facts) => proved.add(&facts),
            Err(Refused::Flawed(flaw)) => {
                proved.flaws += 1;
                proved.flaw.get_or_insert(flaw);
            }
            Err(Refused::TooLarge(why)) => {
                proved.unproved += 1;
                proved.why_unproved.get_or_insert(why);
            }
        }
    }
    proved.elapsed_ms = started.elapsed().as_secs_f64() * 1e3;
    proved
}

/// The ways in which ranks lie in domains that make a difference to an algorithm, and whether switches fold: none to one that
/// serves ranks without domains.
pub fn settings(algorithm: &dyn Algorithm, collective: Collective, ranks: usize) -> Vec<(Layout, bool)> {
    let flat = Problem { uneven: collective.is_uneven(), ..Problem::new(collective.even(), ranks) };
    if algorithm.fits(&flat).is_ok() {
        return vec![(Layout::Flat, false)];
    }
    let half = ranks.div_ceil(2) as u32;
    let mut layouts = vec![Layout::Flat, Layout::Blocks(half), Layout::Interleaved(3)];
    if ranks <= FEW_RANKS {
        layouts.extend([Layout::Blocks(2), Layout::Blocks(3), Layout::Interleaved(2)]);
    }
    let fits = |layout: &Layout| algorithm.fits(&Problem { layout: *layout, switch: true, ..flat }).is_ok();
    layouts.dedup();
    layouts.into_iter().filter(fits).map(|layout| (layout, true)).collect()
}

/// Up to so many ranks more layouts are tried.
const FEW_RANKS: usize = 12;

/// Every layout and root, and several tiles where they make a difference.
fn problems(algorithm: &dyn Algorithm, collective: Collective, ranks: usize) -> impl Iterator<Item = Problem> {
    let settings = settings(algorithm, collective, ranks);
    let roots = if collective.has_root() { ranks } else { 1 };
    let tiles: &[u32] = if algorithm.pipelines() { &[1, 4] } else { &[1] };
    let (collective, uneven) = (collective.even(), collective.is_uneven());
    settings
        .into_iter()
        .flat_map(move |setting| (0..roots).map(move |root| (setting, root)))
        .flat_map(move |((layout, switch), root)| {
            let problem = Problem { root, uneven, layout, switch, ..Problem::new(collective, ranks) };
            tiles.iter().map(move |&tiles| Problem { tiles, ..problem })
        })
        .filter(|problem| algorithm.fits(problem).is_ok())
}

fn prove_one(algorithm: &dyn Algorithm, problem: &Problem) -> Result<Facts, Refused> {
    let checked = check(&algorithm.plan(problem)).and_then(|checked| {
        keeps_promise(&checked, &algorithm.promise(problem), &|chunk| algorithm.order(problem, chunk))?;
        if problem.ranks <= MOST_RANKS_LOWERED {
            check_lowered_at(&checked, odd_count(&checked))?;
        }
        Ok(checked)
    });
    checked.map(|checked| checked.facts().clone()).map_err(|flaw| {
        let Problem { collective, ranks, root, uneven, tiles, layout, switch: _ } = problem;
        let sizes = if *uneven { "unequal blocks" } else { "equal blocks" };
        let name = algorithm.name();
        let of = format!("{name} {collective}, {ranks} ranks, root {root}, {tiles} tiles, {sizes}, {layout:?}");
        match flaw {
            Flaw::TooLarge { .. } => Refused::TooLarge(format!("{of}: not proved: {flaw}; take fewer ranks")),
            _ => Refused::Flawed(format!("{of}: {flaw}")),
        }
    })
}

/// A little over one element a chunk, so that chunks differ in size; where a block is as large as the count, three elements, which leave
/// a tile of four empty.
fn odd_count(checked: &Checked) -> u64 {
    let grid = checked.plan().grid();
    match grid.collective {
        Collective::AllReduce | Collective::Broadcast | Collective::Reduce => {
            u64::from(grid.blocks * grid.tiles + 1) | 1
        }
        _ => 3,
    }
}

impl Proved {
    fn add(&mut self, facts: &Facts) {
        self.plans += 1;
        self.hops = self.hops.max(facts.hops);
        self.chunks_sent = self.chunks_sent.max(facts.chunks_sent);
        self.chunks_received = self.chunks_received.max(facts.chunks_received);
        self.messages_sent = self.messages_sent.max(facts.messages_sent);
        self.moves = self.moves.max(facts.moves);
        self.scratch_chunks = self.scratch_chunks.max(facts.scratch_chunks);
        self.lanes = self.lanes.max(facts.lanes);
        self.bit_equal &= facts.bit_equal;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono::algorithm::find;
    use unisono::plan::{Order, Plan, Promise};

    /// An algorithm that promises one hop less than it takes.
    struct Boaster(&'static dyn Algorithm);

    impl Algorithm for Boaster {
        fn name(&self) -> &'static str {
            "boaster"
        }
        fn fits(&self, problem: &Problem) -> Result<(), String> {
            self.0.fits(problem)
        }
        fn plan(&self, problem: &Problem) -> Plan {
            self.0.plan(problem)
        }
        fn promise(&self, problem: &Problem) -> Promise {
            let promise = self.0.promise(problem);
            Promise { hops: promise.hops - 1, ..promise }
        }
        fn order(&self, problem: &Problem, chunk: u32) -> Order {
            self.0.order(problem, chunk)
        }
    }

    #[test]
    fn every_root_and_tile_count_is_proved() {
        let proved = prove(find("chain").expect("it is registered"), Collective::Broadcast, 5);
        assert_eq!((proved.plans, proved.flaws, proved.flaw), (5 * 2, 0, None));
        assert_eq!(prove(find("ring").expect("it is registered"), Collective::AllReduce, 5).plans, 1);
    }

    #[test]
    fn a_plan_too_large_to_be_proved_has_no_flaw() {
        let proved = prove(find("direct").expect("it is registered"), Collective::AllToAll, 131_072);
        assert_eq!((proved.plans, proved.flaws, proved.flaw, proved.unproved), (0, 0, None, 1));
        let told = proved.why_unproved.expect("a reason");
        assert!(told.contains("not proved: the plan has more than"), "{told}");
    }

    #[test]
    fn a_flaw_is_told_with_the_plan_that_has_it() {
        let ring = find("ring").expect("it is registered");
        let proved = prove(&Boaster(ring), Collective::AllGatherV, 3);
        assert_eq!((proved.plans, proved.flaws), (0, 1));
        let told = proved.flaw.expect("a flaw");
        assert!(told.starts_with("boaster all_gather, 3 ranks, root 0, 1 tiles, unequal blocks, Flat: "), "{told}");
    }
}
