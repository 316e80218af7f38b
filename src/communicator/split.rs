//! Communicators made from communicators.

use super::Communicator;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::select::Context;
use crate::types::Rank;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

impl Communicator {
    /// Splits the ranks: those that give the same `color` form a new communicator, ordered by `key`, then by rank. Collective:
    /// all ranks call it; with `None` a rank takes part and gets nothing. Blocks.
    ///
    /// The new communicator chooses algorithms by the transports and hosts of its own ranks. Windows stay with the communicator that
    /// allocated them: to the new one they are ordinary memory.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`]; `Resource` where shared memory or descriptors run out.
    ///
    /// ```
    /// # use unisono::Communicator;
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// let half = alone.split(Some(0), 0)?.expect("we gave a color");
    /// assert_eq!((half.rank(), half.size()), (0, 1));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn split(&mut self, color: Option<u32>, key: i64) -> Result<Option<Communicator>> {
        let own = [color.map_or(-1, i64::from), key];
        let mut all = vec![0i64; 2 * self.size];
        self.all_gather(&own, &mut all)?;
        self.children += 1;
        let Some(color) = color else { return Ok(None) };
        let mut members: Vec<(i64, Rank)> = all
            .chunks_exact(2)
            .enumerate()
            .filter(|(_, pair)| pair[0] == i64::from(color))
            .map(|(rank, pair)| (pair[1], rank))
            .collect();
        members.sort_unstable();
        let rank = members.iter().position(|(_, rank)| *rank == self.rank).expect("we gave this color");
        let members: Vec<Rank> = members.into_iter().map(|(_, rank)| self.control.member(rank)).collect();
        let settings = Settings {
            timeout: Some(self.timeout),
            progress: self.progress,
            diagnostics: self.diagnostics.clone(),
            ..Settings::default()
        };
        let id = self.child_id(u64::from(color));
        // Prices are those of the ranks that are left: of their transports, and of how many share a host.
        let Context { algorithm, rules, strict, constants, .. } = Context::clone(&self.context);
        let context = self.origin.context(&members, constants.speeds);
        let context = Arc::new(Context { algorithm, rules, strict, ..context });
        let made = self.origin.make(id, rank, &members, context, &settings, &|| self.control.failure());
        // The others may be waiting for this rank in the new communicator; they learn of the failure from the old one.
        made.map(Some).map_err(|error: Error| self.control.fail(error).on_rank(self.rank))
    }

    /// A communicator of the same ranks in the same order, with links of its own: for another thread. Collective. Blocks.
    ///
    /// # Errors
    /// As [`Communicator::split`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp};
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// let mut other = alone.duplicate()?;
    /// let thread = std::thread::spawn(move || other.barrier());
    /// alone.barrier()?; // in no order with the other one
    /// thread.join().unwrap()?;
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn duplicate(&mut self) -> Result<Communicator> {
        let copy = self.split(Some(0), self.rank as i64)?;
        Ok(copy.expect("every rank gave the color"))
    }

    /// A name that all members of a child compute alike, and no other communicator of the job has.
    pub(super) fn child_id(&self, part: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.control.communicator(), self.children, part).hash(&mut hasher);
        hasher.finish() >> 1 | 1 << 62
    }
}

#[cfg(test)]
mod tests {
    use crate::communicator::Builder;
    use crate::topology::host::Constants;
    use crate::types::TransportKind;

    #[test]
    fn a_child_has_the_prices_of_its_own_ranks() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let size = processors + 1;
        let of = |ranks| Constants::of(TransportKind::Memory, ranks, processors);
        assert!(of(1).inside(8.0).hop_ns < of(size).inside(8.0).hop_ns, "ranks that outnumber processors cost more");
        std::thread::scope(|threads| {
            for mut communicator in Builder::default().calibrate(false).local(size).unwrap() {
                threads.spawn(move || {
                    assert_eq!(communicator.context.constants, of(size));
                    let alone = communicator.split(Some(communicator.rank() as u32), 0).unwrap().unwrap();
                    assert_eq!(alone.context.constants, of(1));
                    assert_eq!(communicator.duplicate().unwrap().context.constants, of(size));
                });
            }
        });
    }
}
