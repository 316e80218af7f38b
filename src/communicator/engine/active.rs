//! The operation that runs: its program, and before it, where ranks are strict, the agreement on it.

use super::Engine;
use crate::communicator::call::Call;
use crate::communicator::waiting::Work;
use crate::error::Result;
use crate::exec::links::{Hope, Links};
use crate::exec::run::{Memory, Runner, Standing};
use crate::plan::lower;
use crate::select::Selector;
use std::time::Duration;

/// A barrier under the fingerprint of the call that follows. Nobody gets out of a barrier before all have got in, and whoever meets
/// another fingerprint goes no further: so no data moves unless all ranks have entered the same call.
pub struct Agreement {
    runner: Runner,
    byte: Box<u8>,
    scratch: Vec<u8>,
    /// What begins once all agree: memory and fingerprint.
    before: Option<(Memory, u32)>,
}

// SAFETY: the addresses in `before` are of buffers that the caller or a ticket keeps until the operation is over.
unsafe impl Send for Agreement {}

impl Agreement {
    fn begin(&mut self, memory: Memory, fingerprint: u32) {
        self.before = Some((memory, fingerprint));
        let byte = &raw mut *self.byte;
        let own = Memory { scratch: self.scratch.as_mut_ptr(), ..Memory::new(byte, byte) };
        // SAFETY: byte and scratch are as long as a barrier needs, nobody else's, and live as long as the runner.
        unsafe { self.runner.begin(own, fingerprint) };
    }
}

/// A call's runner, with the agreement before it.
pub struct Active<'a> {
    pub agreement: Option<&'a mut Agreement>,
    pub runner: &'a mut Runner,
}

impl Active<'_> {
    /// # Safety
    /// As [`Runner::begin`].
    pub unsafe fn begin(&mut self, memory: Memory, fingerprint: u32) {
        match &mut self.agreement {
            Some(agreement) => agreement.begin(memory, fingerprint),
            // SAFETY: the caller's.
            None => unsafe { self.runner.begin(memory, fingerprint) },
        }
    }

    /// Goes as far as it can without waiting; true when the operation is done.
    #[inline]
    pub fn poll(&mut self, links: &mut Links) -> Result<bool> {
        if let Some(agreement) = &mut self.agreement
            && let Some((memory, fingerprint)) = agreement.before
        {
            if !agreement.runner.poll(links)? {
                return Ok(false);
            }
            agreement.before = None;
            // SAFETY: whoever began the operation vouched for its memory until it is over.
            unsafe { self.runner.begin(memory, fingerprint) };
        }
        self.runner.poll(links)
    }

    /// Where the operation stands; at its first step while the ranks agree.
    pub fn standing(&self, links: &mut Links) -> Standing {
        match &self.agreement {
            Some(agreement) if agreement.before.is_some() => {
                Standing { step: 0, bytes: 0, ..agreement.runner.standing(links) }
            }
            _ => self.runner.standing(links),
        }
    }

    pub fn cancel(&mut self, links: &mut Links) {
        self.runner.cancel(links);
    }
}

impl Work for Active<'_> {
    fn poll(&mut self, links: &mut Links) -> Result<bool> {
        Active::poll(self, links)
    }

    fn add_descriptors(&self, links: &mut Links, into: &mut Vec<libc::pollfd>) {
        match &self.agreement {
            Some(agreement) if agreement.before.is_some() => agreement.runner.add_descriptors(links, into),
            _ => self.runner.add_descriptors(links, into),
        }
    }
}

impl Engine {
    /// From now on all ranks agree on every collective before any of its data moves. Blocks to connect.
    pub fn be_strict(&mut self, timeout: Duration) -> Result<()> {
        let barrier = Call::barrier();
        let checked = Selector::choose(&self.context, barrier.problem(self.size, self.layout), 1, None)?;
        let lowered = lower::lower(&checked, self.rank, &barrier.counts, 1, true);
        let scratch = vec![0; lowered.scratch_bytes as usize];
        let control = self.control.clone();
        let hope = Hope { deadline: control.clock.now() + timeout, hopeless: &|_| control.failure() };
        let runner = self.make_runner(lowered, super::kernel_of(&barrier, self.size), 1, &hope)?;
        self.agreement = Some(Agreement { runner, byte: Box::new(0), scratch, before: None });
        Ok(())
    }

    pub(super) fn active(&mut self, shape: usize) -> (Active<'_>, &mut Links) {
        let runner = &mut self.shapes[shape].runner;
        (Active { agreement: self.agreement.as_mut(), runner }, &mut self.links)
    }
}
