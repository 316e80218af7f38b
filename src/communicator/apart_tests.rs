use super::*;
use crate::transport::arena::Arena;
use crate::{Communicator, ReduceOp};

/// Ranks of a host that sit where they are told.
struct Host(Vec<Watch>);

impl Host {
    fn new(ranks: usize) -> Host {
        let arena = Arena::for_threads(ranks).unwrap();
        Host((0..ranks).map(|rank| Watch::new(Seats::new(arena.clone(), rank))).collect())
    }

    /// All ranks look once, each on its processor; who should move.
    fn look(&mut self, processors: &[usize]) -> Vec<usize> {
        let ranks = self.0.iter_mut().zip(processors).enumerate();
        ranks.filter_map(|(rank, (watch, processor))| watch.look(*processor).then_some(rank)).collect()
    }
}

fn processors(numbers: &[usize]) -> Processors {
    let mut set = Processors::none();
    numbers.iter().for_each(|processor| set.insert(*processor));
    set
}

#[test]
fn the_higher_of_two_that_meet_again_and_again_moves() {
    let mut host = Host::new(2);
    for _ in 1..MEETINGS {
        assert!(host.look(&[4, 4]).is_empty());
    }
    assert_eq!(host.look(&[4, 4]), [1]);
    assert_eq!(host.0[1].free(&processors(&[4, 5])).unwrap().numbers(), [5]);
}

#[test]
fn who_is_elsewhere_in_between_or_does_not_wait_at_all_is_not_met() {
    let mut host = Host::new(2);
    let seats = [[4, 4], [4, 4], [5, 4], [4, 4], [4, 4], [4, 6], [4, 4], [4, 4]];
    assert!(seats.iter().all(|seats| host.look(seats).is_empty()));
    let mut alone = Host::new(2);
    assert!((0..100).all(|_| !alone.0[1].look(0)), "rank 0 has never waited");
    alone.0[0].look(0);
    assert!((0..100).all(|_| !alone.0[1].look(0)), "it waited once");
}

#[test]
fn nobody_moves_to_where_another_rank_was_seen_or_where_ranks_are_too_many() {
    let mut host = Host::new(3);
    host.look(&[0, 2, 0]);
    assert_eq!(host.0[2].free(&processors(&[0, 1, 2, 3])).unwrap().numbers(), [1, 3]);
    assert!(host.0[2].free(&processors(&[0, 2, 9])).is_some_and(|free| free.numbers() == [9]));
    assert!(host.0[2].free(&processors(&[0, 1])).is_none(), "three ranks on two processors");
    host.look(&[0, 2, 1]);
    assert!(host.0[2].free(&processors(&[0, 1, 2])).is_none(), "all are taken");
}

/// Both threads are put on one processor, then may run on all again, and call. Returns how often rank 1 has moved, and whether the ranks
/// were on different processors after one of the moves.
fn put_together_and_call(moves_apart: bool, rounds: usize) -> (u32, bool) {
    let home = Processors::of_this_thread().unwrap();
    let together = processors(&home.numbers()[..1]);
    let ranks = Communicator::builder().move_apart(moves_apart).calibrate(false).local(2).unwrap();
    let play = |mut communicator: Communicator| {
        let (mut moves, mut apart) = (0, false);
        for _ in 0..rounds {
            together.confine_this_thread().unwrap();
            communicator.barrier().unwrap();
            home.confine_this_thread().unwrap();
            for _ in 0..200 {
                communicator.all_reduce_in_place(&mut [1.0f32; 2048], ReduceOp::Sum).unwrap();
                let own = &communicator.shared.lock().apart;
                if own.moves > moves {
                    moves = own.moves;
                    apart |= own.watch.as_ref().unwrap().seats.seen(0).processor() != affinity::current();
                }
            }
            assert_eq!(Processors::of_this_thread().unwrap().numbers(), home.numbers());
        }
        (moves, apart)
    };
    let [lower, higher] = std::thread::scope(|scope| {
        let threads: Vec<_> = ranks.into_iter().map(|rank| scope.spawn(|| play(rank))).collect();
        let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        <[_; 2]>::try_from(outcomes).unwrap()
    });
    assert_eq!(lower, (0, false), "the lower rank stays");
    higher
}

#[test]
fn ranks_that_were_put_on_one_processor_part_and_are_bound_to_none() {
    if Processors::of_this_thread().unwrap().count() < 2 {
        return eprintln!("skipped: this process has one processor, on which nobody can move apart");
    }
    // On a host that is busy the kernel may part them first, or leave one waiting; over some rounds it does not do so always.
    let (moves, apart) = put_together_and_call(true, 30);
    assert!(moves > 0 && apart, "{moves} moves, apart after one: {apart}");
    assert_eq!(put_together_and_call(false, 3), (0, false));
}
