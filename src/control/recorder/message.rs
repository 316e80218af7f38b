//! Messages between two ranks: how they are told, and how they fit into a ring's entry.

use super::ring::Entered;
use crate::types::{DType, Rank};
use std::fmt;

/// Which way a message goes, seen from its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Send,
    Receive,
}

impl Direction {
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Send => "send",
            Direction::Receive => "recv",
        }
    }
}

/// A message between two ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub direction: Direction,
    pub peer: Rank,
    pub dtype: DType,
    pub bytes: u64,
}

impl Message {
    /// What both sides must agree on besides its length, which every record carries.
    pub const fn fingerprint(dtype: DType) -> u32 {
        0x5e4d_0000 | dtype as u32
    }

    /// The type that a fingerprint stands for.
    pub fn dtype_of(fingerprint: u32) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| Message::fingerprint(*dtype) == fingerprint)
    }

    pub fn entered(&self, sequence: u64) -> Entered {
        let call = (self.peer as u32) << 1 | u32::from(self.direction == Direction::Receive);
        Entered { sequence, call, fingerprint: Message::fingerprint(self.dtype), bytes: self.bytes }
    }

    /// What an entry tells.
    pub fn of(entered: &Entered) -> Option<Message> {
        let direction = if entered.call & 1 == 0 { Direction::Send } else { Direction::Receive };
        let dtype = Message::dtype_of(entered.fingerprint)?;
        Some(Message { direction, peer: (entered.call >> 1) as Rank, dtype, bytes: entered.bytes })
    }
}

impl Message {
    /// With its number among those of its two ranks in its direction.
    pub fn numbered(&self, sequence: u64) -> String {
        format!("{self} (message {sequence} of the pair)")
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message { direction, peer, dtype, bytes } = self;
        let towards = match direction {
            Direction::Send => "to",
            Direction::Receive => "from",
        };
        write!(f, "{} {dtype} x {} {towards} rank {peer}", direction.name(), bytes / dtype.size() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_tells_the_message() {
        for dtype in DType::ALL {
            for direction in [Direction::Send, Direction::Receive] {
                let message = Message { direction, peer: 499_967, dtype, bytes: 3 * dtype.size() as u64 };
                assert_eq!(Message::of(&message.entered(7)), Some(message));
            }
        }
        let message = Message { direction: Direction::Receive, peer: 3, dtype: DType::Bf16, bytes: 10 };
        assert_eq!(message.to_string(), "recv bf16 x 5 from rank 3");
        assert_eq!(Message::of(&Entered { fingerprint: 1, ..message.entered(1) }), None);
    }
}
