//! A rank gives up while others have its memory to read: what they make of it.

use super::links::{self, Hope, Links, Path};
use super::run::{Memory, Runner};
use crate::error::ErrorKind;
use crate::plan::Problem;
use crate::plan::chunk::Counts;
use crate::plan::lower::lower;
use crate::reduce::Kernel;
use crate::select::Selector;
use crate::transport::arena::{Arena, Reach};
use crate::transport::memory::Mapping;
use crate::transport::window::Window;
use crate::types::{Collective, DType, Rank, ReduceOp};
use std::sync::Arc;
use std::time::{Duration, Instant};

const RANKS: usize = 3;
const ELEMENTS: usize = 2000;
/// Of one rank: input and output.
const PART: usize = 2 * ELEMENTS * 4;

/// One rank in the middle of an all-reduce in which every rank reads the inputs of all others at once.
struct Player {
    links: Links,
    runner: Runner,
}

fn players(arena: &Arc<Arena>, window: &Arc<Window>) -> Vec<Player> {
    (0..RANKS).map(|rank| player(rank, arena, window)).collect()
}

fn player(rank: Rank, arena: &Arc<Arena>, window: &Arc<Window>) -> Player {
    let path = |peer: Rank| (peer != rank).then(|| Path::Arena { arena: arena.clone(), own: rank, peer });
    let mut links = Links::new(rank, (0..RANKS).map(path).collect(), links::never());
    let input = window.memory.address().wrapping_add(rank * PART);
    links.share_window(1, window.clone());
    links.add_window(1, input, PART);
    let problem = Problem::new(Collective::AllReduce, RANKS);
    let checked = Selector::prove("one_shot", problem).unwrap();
    let lowered = lower(&checked, rank, &Counts::Even(ELEMENTS as u64), 4, false);
    let hope = Hope { deadline: Instant::now() + Duration::from_secs(10), hopeless: &|_| None };
    let inboxes = lowered.inboxes.iter().map(|name| links.open_inbox(*name, &hope).unwrap()).collect();
    let outboxes = lowered.outboxes.iter().map(|(name, _)| links.open_outbox(*name, &hope).unwrap()).collect();
    let kernel = Kernel::new(DType::U32, ReduceOp::Sum, RANKS);
    let mut runner = Runner::new(lowered, Some(kernel), 4, inboxes, outboxes);
    let memory = Memory::new(input, input.wrapping_add(PART / 2));
    // SAFETY: both halves of the part are of the lowered size and outlive the runner, and nothing else touches them.
    unsafe { runner.begin(memory, 7) };
    Player { links, runner }
}

fn new_arena(reach: Reach) -> Arc<Arena> {
    match reach {
        Reach::Threads => Arena::for_threads(RANKS).unwrap(),
        Reach::Processes => Arena::for_processes(Mapping::anonymous(1 << 20).unwrap(), RANKS).unwrap(),
    }
}

#[test]
fn who_reads_what_was_taken_back_fails_and_keeps_nobody_waiting() {
    for reach in [Reach::Threads, Reach::Processes] {
        let window = Arc::new(Window { memory: Mapping::anonymous(RANKS * PART).unwrap(), part_bytes: PART });
        for quitter in [1, 2] {
            let mut players = players(&new_arena(reach), &window);
            for rank in [1, 2] {
                let Player { links, runner } = &mut players[rank];
                assert!(!runner.poll(links).unwrap(), "rank 0 has not begun");
            }
            let Player { links, runner } = &mut players[quitter];
            runner.cancel(links);
            let Player { links, runner } = &mut players[0];
            for _ in 0..2 {
                let error = runner.poll(links).expect_err("an input is missing");
                assert_eq!((error.kind(), error.peer()), (ErrorKind::Aborted, Some(quitter)), "{reach:?}: {error}");
            }
            // The input of the third was at hand. It can be taken back all the same, and at once.
            let (done, over) = std::sync::mpsc::channel();
            let Player { mut links, mut runner } = players.remove(3 - quitter);
            std::thread::spawn(move || {
                runner.cancel(&mut links);
                done.send(()).unwrap();
            });
            let waited = over.recv_timeout(Duration::from_secs(10));
            assert!(waited.is_ok(), "{reach:?}: rank {} can't take its memory back", 3 - quitter);
        }
    }
}

#[test]
fn a_window_that_is_gone_is_mapped_no_longer() {
    let window = Arc::new(Window { memory: Mapping::anonymous(RANKS * PART).unwrap(), part_bytes: PART });
    let mut players = players(&new_arena(Reach::Processes), &window);
    assert!(Arc::strong_count(&window) > RANKS);
    players.iter_mut().for_each(|player| player.links.remove_window(1));
    assert_eq!(Arc::strong_count(&window), 1);
}
