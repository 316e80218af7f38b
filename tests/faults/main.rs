//! When things go wrong: ranks are killed, stopped, disagree, leave, run out of something, or meet strangers.
//!
//! Ranks that are processes are this test binary itself, in the role of [`worker`]. FAULTS_TIER=deep makes the campaigns long;
//! UNISONO_SEED replays one.

mod abort;
mod fork;
mod kill;
mod limits;
mod many;
mod messages;
mod mismatch;
mod process;
mod record;
mod registered;
mod rendezvous;
mod stop;
mod worker;

use std::time::{Duration, Instant};

/// Much longer than anything here takes when it does not hang, on a machine that has other things to do.
const NO_HANG: Duration = Duration::from_secs(60);

fn deep() -> bool {
    std::env::var("FAULTS_TIER").is_ok_and(|tier| tier == "deep")
}

/// A stream of numbers from a seed, which is printed so that a failure can be replayed.
struct Chance(u64);

impl Chance {
    fn new(what: &str) -> Chance {
        let time =
            || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
        let seed =
            std::env::var("UNISONO_SEED").ok().map_or_else(|| time() as u64, |seed| seed.parse().expect("a number"));
        println!("{what}: replay with UNISONO_SEED={seed}");
        Chance(seed)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Lets up to some milliseconds pass, so that what follows happens anywhere in what runs meanwhile.
    fn pass_up_to_ms(&mut self, most: usize) {
        let until = Instant::now() + Duration::from_micros(self.below(most * 1000) as u64);
        while Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

/// Whether a text names a rank by the words `rank R`.
fn names_rank(text: &str, rank: usize) -> bool {
    let words = format!("rank {rank}");
    text.match_indices(&words).any(|(at, _)| !text[at + words.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

#[test]
fn rank_1_is_not_named_by_rank_12() {
    assert!(names_rank("because of rank 12: rank 1, it seems", 1) && !names_rank("rank 12 is gone", 1));
}
