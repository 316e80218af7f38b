//! Messages over 4 GiB.

use unisono::algorithm;
use unisono::plan::Problem;
use unisono::plan::check::check;
use unisono::plan::chunk::Counts;
use unisono::plan::lower::lower;
use unisono::{Collective, Communicator, ReduceOp, room};

#[test]
fn lowered_offsets_pass_four_gibi() {
    let (ranks, count, element_bytes) = (3, (1u64 << 33) + 5, 8);
    let problem = Problem::new(Collective::AllGather, ranks);
    let checked = check(&algorithm::find("ring").unwrap().plan(&problem)).unwrap();
    for rank in 0..ranks {
        let lowered = lower(&checked, rank, &Counts::Even(count), element_bytes, false);
        let block = count * element_bytes;
        assert_eq!((lowered.input_bytes, lowered.output_bytes), (block, 3 * block));
        let mut offsets: Vec<u64> = lowered
            .lanes
            .iter()
            .flatten()
            .filter_map(|instruction| instruction.destination)
            .map(|destination| destination.offset)
            .collect();
        offsets.sort_unstable();
        assert_eq!(offsets, [0, block, 2 * block]);
        assert!(lowered.outboxes.iter().flat_map(|(_, posts)| posts).all(|post| post.bytes == block));
    }
}

#[test]
#[ignore = "it takes 12 GiB of memory and minutes: ci/deep runs it"]
fn a_message_over_four_gibi_arrives() {
    const LEN: usize = (1 << 32) + 4099;
    let left = room::of_host().map_or(0, |(bytes, _)| bytes);
    assert!(left >= 3 * LEN as u64, "it takes {} bytes of memory, and {left} are left here", 3 * LEN as u64);
    std::thread::scope(|threads| {
        for mut communicator in Communicator::local(2).unwrap() {
            threads.spawn(move || {
                let rank = communicator.rank();
                let value = |rank: usize, index: usize| ((index * (2 * rank + 3)) >> 3) as u8;
                let mut data: Vec<u8> = (0..LEN).map(|index| value(rank, index)).collect();
                communicator.all_reduce_in_place(&mut data, ReduceOp::Sum).unwrap();
                let wrong = (0..LEN).find(|&index| data[index] != value(0, index).wrapping_add(value(1, index)));
                assert_eq!(wrong, None);
            });
        }
    });
}
