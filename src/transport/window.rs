//! Windows: memory that every rank of a host has mapped, so that a loan of it is a number and an offset.

use super::memory::Mapping;
use std::sync::Arc;

/// Memory of the same size on every rank of an arena, all of it mapped here.
#[derive(Debug)]
pub struct Window {
    pub memory: Mapping,
    /// Bytes of one rank's part; the parts lie in the order of the arena's ranks.
    pub part_bytes: usize,
}

/// The windows that a rank has mapped, by number. Links keep a copy each and replace it when a window comes or goes, so that
/// looking one up needs no lock.
#[derive(Clone, Debug, Default)]
pub struct Windows(Vec<(u32, Arc<Window>)>);

impl Windows {
    pub fn with(&self, id: u32, window: Arc<Window>) -> Windows {
        let mut windows = self.without(id);
        windows.0.push((id, window));
        windows
    }

    pub fn without(&self, id: u32) -> Windows {
        Windows(self.0.iter().filter(|(other, _)| *other != id).cloned().collect())
    }

    /// Where `len` bytes at `offset` of a rank's part of a window lie here; None if there is no such memory.
    #[inline]
    pub fn address(&self, id: u32, rank: usize, offset: u64, len: u64) -> Option<*const u8> {
        let (_, window) = self.0.iter().find(|(other, _)| *other == id)?;
        // What another process wrote is checked before it becomes an address.
        let end = usize::try_from(offset.checked_add(len)?).ok().filter(|end| *end <= window.part_bytes)?;
        let part = rank.checked_mul(window.part_bytes)?;
        let inside = part.checked_add(end)? <= window.memory.len();
        inside.then(|| window.memory.address().wrapping_add(part + offset as usize).cast_const())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_of_a_window_that_is_there_has_an_address() {
        let window = Arc::new(Window { memory: Mapping::anonymous(3 * 4096).unwrap(), part_bytes: 4096 });
        let start = window.memory.address().cast_const();
        let windows = Windows::default().with(7, window.clone());
        assert_eq!(windows.address(7, 2, 96, 4000), Some(start.wrapping_add(2 * 4096 + 96)));
        assert_eq!(windows.address(8, 2, 96, 4000), None, "another window");
        assert_eq!(windows.address(7, 2, 97, 4000), None, "beyond the part");
        assert_eq!(windows.address(7, 2, u64::MAX, 2), None, "beyond all numbers");
        assert_eq!(windows.address(7, 3, 0, 1), None, "the part of a rank that is not there");
        assert_eq!(windows.without(7).address(7, 2, 96, 4000), None, "gone");
        drop(windows);
        assert_eq!(Arc::strong_count(&window), 1, "memory that nobody can name any more is let go");
    }
}
