//! How large a plan the checker is willing to prove. A short text can ask for a great deal of memory and time (`repeat
//! 4294967295`), so everything that grows with more than the text is counted and bounded, before it is done or allocated.

/// What a proof may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub ranks: u64,
    /// Chunks of all ranks' memories; some 12 bytes each, 40 where ranks have several lanes.
    pub chunks: u64,
    /// Moves of all ranks, every round of a repeat counted.
    pub moves: u64,
    /// Chunks that moves read and write, every round counted; a message counts as one.
    pub work: u64,
    /// Messages that are posted and not taken at one time; some 40 bytes each.
    pub messages: u64,
    /// Words of 8 bytes to keep what was folded.
    pub fold_words: u64,
    /// Cells of vector clocks, of lanes and of messages under way; 4 bytes each.
    pub clock_cells: u64,
    /// Cells of vector clocks that are looked at, all in all.
    pub clock_work: u64,
    /// Reads of chunks that a later write must wait for; some 28 bytes each.
    pub reads: u64,
}

impl Limits {
    /// Of [`check`](super::check): room for a ring among 1,500 ranks and for a broadcast or all-gather among 4,096; at the worst
    /// a few GB of memory, each kind at most about 1 GB, and some minutes.
    pub(crate) const FULL: Limits = Limits {
        ranks: 1 << 20,
        chunks: 1 << 25,
        moves: 1 << 26,
        work: 1 << 28,
        messages: 1 << 24,
        fold_words: 1 << 27,
        clock_cells: 1 << 27,
        clock_work: 1 << 34,
        reads: 1 << 24,
    };
}
