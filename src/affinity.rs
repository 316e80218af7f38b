//! The processors that a thread may run on, and how it changes to another without being bound to it.

use std::io;
use std::mem::{size_of, zeroed};

/// Some of a host's processors, by their numbers.
#[derive(Clone, Copy)]
pub struct Processors(libc::cpu_set_t);

/// Numbers from here on don't fit.
const MOST: usize = 8 * size_of::<libc::cpu_set_t>();

impl Processors {
    pub const fn none() -> Processors {
        // SAFETY: the set is an array of integers, for which zeros are a value.
        Processors(unsafe { zeroed() })
    }

    /// Those that the calling thread may run on.
    ///
    /// # Errors
    /// The system's: where the host has more processors than a set holds, or a filter of system calls forbids the question.
    pub fn of_this_thread() -> io::Result<Processors> {
        let mut all = Processors::none();
        // SAFETY: the kernel writes as many bytes as the set has, at most.
        match unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut all.0) } {
            0 => Ok(all),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Lets the calling thread run on these only.
    ///
    /// # Errors
    /// The system's: where it may run on none of them, or the call is forbidden. Nothing has changed then.
    pub fn confine_this_thread(&self) -> io::Result<()> {
        // SAFETY: the kernel only reads the set.
        match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    #[cfg(test)]
    pub fn contains(&self, processor: usize) -> bool {
        // SAFETY: the number is one that a set holds.
        processor < MOST && unsafe { libc::CPU_ISSET(processor, &self.0) }
    }

    pub fn insert(&mut self, processor: usize) {
        if processor < MOST {
            // SAFETY: the number is one that a set holds.
            unsafe { libc::CPU_SET(processor, &mut self.0) };
        }
    }

    pub fn remove(&mut self, processor: usize) {
        if processor < MOST {
            // SAFETY: the number is one that a set holds.
            unsafe { libc::CPU_CLR(processor, &mut self.0) };
        }
    }

    pub fn count(&self) -> usize {
        // SAFETY: the call only reads the set.
        unsafe { libc::CPU_COUNT(&self.0) as usize }
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    #[cfg(test)]
    pub fn numbers(&self) -> Vec<usize> {
        (0..MOST).filter(|processor| self.contains(*processor)).collect()
    }
}

/// The processor on which the calling thread runs at this moment. No system call, where the C library has a way without.
#[inline]
pub fn current() -> Option<usize> {
    // SAFETY: the call takes no pointers.
    usize::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// Moves the calling thread, which may run on `home`, to one of `there`. When this returns it may run on all of `home` again, whether
/// it was moved or not: it has changed its processor, and the kernel is as free as before to change it again.
///
/// # Errors
/// The system's, as of [`Processors::confine_this_thread`].
pub fn move_to(there: &Processors, home: &Processors) -> io::Result<()> {
    /// Comes home on every way out.
    struct Return<'a>(&'a Processors);

    impl Drop for Return<'_> {
        fn drop(&mut self) {
            if self.0.confine_this_thread().is_err() {
                // All that it could run on was taken from this process meanwhile: whatever it has now, then. It fails only where the
                // first call was refused too, so that nothing has changed.
                let mut any = Processors::none();
                (0..MOST).for_each(|processor| any.insert(processor));
                let _ = any.confine_this_thread();
            }
        }
    }

    let _home = Return(home);
    there.confine_this_thread()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_moves_changes_its_processor_and_is_bound_to_none() {
        let home = Processors::of_this_thread().unwrap();
        for processor in home.numbers() {
            let mut there = Processors::none();
            there.insert(processor);
            move_to(&there, &home).unwrap();
            assert_eq!(Processors::of_this_thread().unwrap().numbers(), home.numbers());
        }
        assert!(move_to(&Processors::none(), &home).is_err(), "nobody can run nowhere");
        assert_eq!(Processors::of_this_thread().unwrap().numbers(), home.numbers());
    }

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_beyond_its_end() {
        let mut set = Processors::none();
        [3, 70, MOST, usize::MAX].into_iter().for_each(|processor| set.insert(processor));
        assert_eq!(set.numbers(), [3, 70]);
        assert!(!set.contains(MOST) && set.contains(70));
        set.remove(70);
        set.remove(MOST);
        assert_eq!((set.count(), set.is_empty()), (1, false));
    }
}
