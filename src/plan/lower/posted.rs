//! What a lane has posted and not yet waited for, found by the memory that it is read from.

use super::Release;
use crate::plan::Buffer;
use std::collections::BTreeMap;
use std::ops::Range;

/// A byte range in a space in which aliased buffers share addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    pub buffer: Buffer,
    pub range: Range<i64>,
}

impl Memory {
    pub fn overlaps(&self, other: &Memory) -> bool {
        self.buffer == other.buffer && self.range.start < other.range.end && other.range.start < self.range.end
    }
}

/// Posts by where their memory begins.
#[derive(Default)]
pub struct Posted {
    by_start: BTreeMap<(Buffer, i64), Vec<Post>>,
    longest: i64,
    made: usize,
}

struct Post {
    end: i64,
    number: usize,
    release: Release,
}

impl Posted {
    pub fn clear(&mut self) {
        self.by_start.clear();
    }

    pub fn add(&mut self, memory: &Memory, release: Release) {
        let Range { start, end } = memory.range;
        let post = Post { end, number: self.made, release };
        self.made += 1;
        self.longest = self.longest.max(end - start);
        self.by_start.entry((memory.buffer, start)).or_default().push(post);
    }

    /// Takes out the posts that read any of this memory, in the order in which they were made.
    pub fn take_overlapping(&mut self, memory: &Memory) -> Vec<Release> {
        let Range { start, end } = memory.range;
        let reaching = (memory.buffer, start - self.longest + 1)..(memory.buffer, end);
        let mut taken: Vec<Post> = Vec::new();
        let mut emptied = Vec::new();
        for (key, posts) in self.by_start.range_mut(reaching) {
            taken.extend(posts.extract_if(.., |post| post.end > start));
            if posts.is_empty() {
                emptied.push(*key);
            }
        }
        emptied.iter().for_each(|key| _ = self.by_start.remove(key));
        taken.sort_unstable_by_key(|post| post.number);
        taken.into_iter().map(|post| post.release).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn memory(buffer: Buffer, range: Range<i64>) -> Memory {
        Memory { buffer, range }
    }

    proptest! {
        /// As if all posts were looked at one by one.
        #[test]
        fn all_that_overlap_are_taken_once(
            posts in proptest::collection::vec((any::<bool>(), 0i64..100, 1i64..30), 0..40),
            writes in proptest::collection::vec((any::<bool>(), 0i64..100, 1i64..30), 1..10),
        ) {
            let of = |(output, start, len): (bool, i64, i64)| {
                memory(if output { Buffer::Output } else { Buffer::Scratch }, start..start + len)
            };
            let (mut posted, mut kept) = (Posted::default(), Vec::new());
            for (number, post) in posts.into_iter().map(of).enumerate() {
                posted.add(&post, Release { outbox: number % 3, post: number });
                kept.push((number, post));
            }
            for write in writes.into_iter().map(of) {
                let overlapping = kept.iter().filter(|one| one.1.overlaps(&write));
                let expected: Vec<usize> = overlapping.map(|one| one.0).collect();
                kept.retain(|one| !one.1.overlaps(&write));
                let taken: Vec<usize> = posted.take_overlapping(&write).iter().map(|release| release.post).collect();
                prop_assert_eq!(taken, expected);
            }
        }
    }
}
