//! Whole worlds in one thread: the engines of all ranks on a faulty network, under a virtual clock, in seeded order.
//!
//! A seed says everything: ranks, calls, algorithms, counts, weather, what breaks and when, who moves first. A seed that fails
//! prints the command that replays it. `UNISONO_SEEDS` sets how many are tried.

mod scenario;

use super::diagnostics::Diagnostics;
use super::engine::Engine;
use super::settings::{Patience, Progress};
use super::started::ticket::Ticket;
use crate::clock::{Clock, VirtualClock};
use crate::control::{Control, Hub, Outlet};
use crate::error::{Error, ErrorKind};
use crate::exec::links::{self, Links, Path};
use crate::exec::run::Memory;
use crate::select::Context;
use crate::transport::faulty::{Fault, Network, Random, What};
use crate::types::Rank;
use scenario::{Operation, POISON, Scenario};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Of every operation, in virtual time.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What an error may come later than that: ranks take a moment to find its root.
const GRACE: Duration = Duration::from_secs(1);
/// How far time moves where the network has nothing in store.
const IDLE_STEP: Duration = Duration::from_millis(20);

/// What one rank made of one operation.
struct Outcome {
    input: Vec<u8>,
    output: Vec<u8>,
    ticket: Arc<Ticket>,
    end: Option<End>,
}

/// The operation's end as the caller saw it, and the output from then on: of an error it is overwritten, as the caller may.
struct End {
    error: Option<Error>,
    output: Vec<u8>,
}

struct Member {
    rank: Rank,
    /// None: dead.
    engine: Option<Engine>,
    outcomes: Vec<Outcome>,
}

/// What came of a seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    right: usize,
    errors: usize,
    elapsed: Duration,
}

struct Simulation {
    scenario: Scenario,
    random: Random,
    clock: Arc<VirtualClock>,
    network: Arc<Network>,
    members: Vec<Member>,
    death_is_known: bool,
}

impl Simulation {
    fn new(scenario: Scenario) -> Simulation {
        let clock = Arc::new(VirtualClock::new());
        let network = Network::new(clock.clone(), scenario.seed, scenario.weather.clone(), scenario.fault);
        let hub = Hub::new(scenario.ranks);
        let context = Arc::new(Context::new(None, scenario.constants));
        let member = |rank| {
            let path = |peer: Rank| (peer != rank).then(|| Path::Faulty(network.clone()));
            let paths: Vec<Option<Path>> = (0..scenario.ranks).map(path).collect();
            let transports = paths.iter().map(|path| path.as_ref().map(Path::kind)).collect();
            let links = Links::new(rank, paths, links::never());
            let everyone = (0..scenario.ranks).collect();
            let time = Clock::Virtual(clock.clone());
            let control = Control::new(0, rank, everyone, transports, Outlet::Hub(hub.clone()), time);
            let patience = Patience::for_ranks(1, Progress::Caller, false);
            let mut engine = Engine::new(rank, links, control, None, patience, context.clone(), Diagnostics::default());
            engine.layout = scenario.layout;
            Member { rank, engine: Some(engine), outcomes: Vec::new() }
        };
        let members = (0..scenario.ranks).map(member).collect();
        let random = Random(!scenario.seed);
        Simulation { scenario, random, clock, network, members, death_is_known: false }
    }

    fn run(mut self) -> Tally {
        let mut started = vec![false; self.members.len()];
        // A rank starts when it is first reached, which may be late.
        loop {
            let moves = self.network.moves();
            let mut ended = false;
            for rank in self.shuffled() {
                self.break_what_is_due();
                if !started[rank] && self.random.one_in(2) {
                    started[rank] = true;
                    self.members[rank].start(&self.scenario.operations, self.scenario.ranks);
                }
                ended |= self.members[rank].drive(&self.network);
            }
            if started.iter().all(|one| *one) && self.members.iter().all(Member::is_done) {
                break;
            }
            if moves == self.network.moves() && !ended {
                self.pass_time();
            }
        }
        self.settle();
        self.judge()
    }

    fn shuffled(&mut self) -> Vec<Rank> {
        let mut ranks: Vec<Rank> = (0..self.members.len()).collect();
        for last in (1..ranks.len()).rev() {
            ranks.swap(last, self.random.below(last as u64 + 1) as usize);
        }
        ranks
    }

    fn pass_time(&mut self) {
        let now = self.clock.elapsed();
        let step = self.network.next_event().map_or(IDLE_STEP, |event| (event - now).min(IDLE_STEP));
        self.clock.advance(step);
        let limit = TIMEOUT * self.scenario.operations.len() as u32 + GRACE;
        assert!(now < limit, "after {limit:?} some rank still waits");
    }

    fn break_what_is_due(&mut self) {
        let Some(Fault { what: What::Rank(dead), at, loud }) = self.scenario.fault else { return };
        if self.clock.elapsed() >= at {
            if let Some(mut engine) = self.members[dead].engine.take() {
                // What others still read in place stays as it was: memory that is shared outlives a process.
                std::mem::forget(std::mem::take(&mut engine.scratch));
            }
            if loud && !self.death_is_known && self.random.one_in(8) {
                self.death_is_known = true;
                let engines = self.members.iter().filter_map(|member| member.engine.as_ref());
                engines.for_each(|engine| engine.control.peer_lost(dead, "its process ended"));
            }
        }
    }

    /// Lets everything that is still on the way arrive, so that what must not be written would be.
    fn settle(&mut self) {
        while let Some(event) = self.network.next_event() {
            self.clock.advance(event - self.clock.elapsed());
            self.members.iter_mut().for_each(|member| {
                member.drive(&self.network);
            });
        }
    }

    fn judge(&self) -> Tally {
        let mut tally = Tally { elapsed: self.clock.elapsed(), ..Tally::default() };
        for member in self.members.iter().filter(|member| member.engine.is_some()) {
            for (outcome, operation) in member.outcomes.iter().zip(&self.scenario.operations) {
                let End { error, output } = outcome.end.as_ref().expect("all survivors are done");
                assert!(*output == outcome.output, "rank {}: output was written after the end", member.rank);
                match error {
                    None => {
                        operation.assert_right(self.scenario.ranks, member.rank, output);
                        tally.right += 1;
                    }
                    Some(error) => {
                        self.assert_blames(member.rank, error);
                        tally.errors += 1;
                    }
                }
                if !operation.in_place {
                    let input = operation.input(self.scenario.ranks, member.rank);
                    assert!(input == outcome.input, "rank {}: its input was written to", member.rank);
                }
            }
        }
        tally
    }

    /// An error must name what broke, as far as anybody can know.
    fn assert_blames(&self, rank: Rank, error: &Error) {
        let text = error.to_string();
        let names = |culprit: Rank| text.contains(&format!("rank {culprit}"));
        match self.scenario.fault {
            None => panic!("rank {rank}: nothing was broken, and yet: {text}"),
            Some(Fault { what: What::Rank(dead), .. }) => assert!(names(dead), "not about rank {dead}: {text}"),
            Some(Fault { what: What::Link(a, b), loud: true, .. }) => {
                assert!(names(a) || names(b), "not about rank {a} or {b}: {text}");
            }
            Some(_) => assert_eq!(error.kind(), ErrorKind::Timeout, "{text}"),
        }
    }
}

impl Member {
    fn start(&mut self, operations: &[Operation], ranks: usize) {
        for operation in operations {
            let mut input = operation.input(ranks, self.rank);
            let mut output = vec![POISON; operation.buffer_bytes(ranks)];
            if operation.in_place {
                output.copy_from_slice(&input);
                input.clear();
            }
            self.outcomes.push(Outcome { input, output, ticket: Arc::default(), end: None });
        }
        let Some(engine) = &mut self.engine else { return };
        for (operation, outcome) in operations.iter().zip(&mut self.outcomes) {
            let output = outcome.output.as_mut_ptr();
            let input = if operation.in_place { output.cast_const() } else { outcome.input.as_ptr() };
            let memory = Memory::new(input, output);
            // SAFETY: the buffers stay where they are as long as the simulation, and are as large as any collective's.
            let started = unsafe { engine.start(operation.call.clone(), memory, TIMEOUT, outcome.ticket.clone()) };
            if let Err(error) = started {
                outcome.ticket.resolve(Err(error));
            }
        }
    }

    /// Moves on; true if an operation ended. From its end on the caller owns the buffers, and after an error reuses them.
    fn drive(&mut self, network: &Network) -> bool {
        let Some(engine) = &mut self.engine else { return false };
        engine.drive();
        let mut ended = false;
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.end.is_none() && outcome.ticket.is_done()) {
            let error = outcome.ticket.result().err();
            let lent = network.may_read(&outcome.input) || network.may_read(&outcome.output);
            assert!(!lent, "rank {}: its memory is still lent, and yet it was told: {error:?}", self.rank);
            if error.is_some() {
                outcome.output.fill(!POISON);
            }
            outcome.end = Some(End { error, output: outcome.output.clone() });
            ended = true;
        }
        ended
    }

    fn is_done(&self) -> bool {
        self.engine.is_none() || self.outcomes.iter().all(|outcome| outcome.end.is_some())
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Runs the seeds of a test, or the one that is asked for; sums what came of them.
fn try_seeds(test: &str, default_seeds: u64, scenario: fn(u64) -> Scenario) -> Tally {
    let seeds = match number("UNISONO_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("UNISONO_SEEDS").unwrap_or(default_seeds),
    };
    let mut sum = Tally::default();
    for seed in seeds {
        let tally = catch_unwind(AssertUnwindSafe(|| Simulation::new(scenario(seed)).run())).unwrap_or_else(|panic| {
            eprintln!("{:#?}", scenario(seed));
            eprintln!("replay: UNISONO_SEED={seed} cargo test --release --lib communicator::simulation::{test}");
            resume_unwind(panic)
        });
        sum.right += tally.right;
        sum.errors += tally.errors;
        sum.elapsed += tally.elapsed;
    }
    sum
}

#[test]
fn whatever_the_order_of_deliveries_results_are_right() {
    let tally = try_seeds("whatever_the_order_of_deliveries_results_are_right", 1000, Scenario::sound);
    assert_eq!(tally.errors, 0);
}

#[test]
fn whatever_breaks_every_survivor_ends_right_or_in_an_error_that_says_what() {
    let tally =
        try_seeds("whatever_breaks_every_survivor_ends_right_or_in_an_error_that_says_what", 2000, Scenario::broken);
    if number("UNISONO_SEED").is_none() {
        assert!(tally.right > 100 && tally.errors > 100, "the faults come too early or too late: {tally:?}");
    }
}

#[test]
fn a_seed_says_everything() {
    for seed in 0..20 {
        let run = || Simulation::new(Scenario::broken(seed)).run();
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn nobody_succeeds_without_a_rank_that_died_before_its_part() {
    for seed in 0..200 {
        let mut scenario = Scenario::broken(seed);
        let dead = seed as usize % scenario.ranks;
        scenario.fault = Some(Fault { what: What::Rank(dead), at: Duration::ZERO, loud: seed % 2 == 0 });
        scenario.operations = vec![Operation::all_reduce(seed, 7)];
        assert_eq!(Simulation::new(scenario).run().right, 0, "seed {seed}");
    }
}
