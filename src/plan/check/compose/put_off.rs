//! Which ranks of a factor may put their last receipts off: those from whose senders nobody waits for them to be taken.
//!
//! A sender waits if it overwrites what it sent from: that may be read until the message is taken. It is the *sender's* program that
//! says so, whatever the receiver does with its own memory.

use super::stage::Factor;
use super::unit::each_move;
use crate::plan::{Buffer, Move, Operand, Span, Step};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// How many of the last messages of each sender and channel a rank takes in moves after which it sends nothing.
pub(super) type TailReceipts = HashMap<(usize, u16), usize>;

impl Factor<'_> {
    /// Of the rank with this number.
    fn tail_receipts(&self, local: usize) -> Rc<TailReceipts> {
        if let Some(known) = self.tail_receipts.borrow().get(&local) {
            return known.clone();
        }
        let steps: Vec<Step> = self.plan.program(local).lanes.into_iter().flatten().collect();
        let mut tail = TailReceipts::new();
        let only_takes = |one: &Move| one.reduction.is_none() && peers(&one.destinations).next().is_none();
        // A factor with waits is refused elsewhere.
        let _ = each_move(&steps, &mut |one, _| {
            match only_takes(one) {
                true => peers(&one.sources).for_each(|link| *tail.entry(link).or_default() += 1),
                false => tail.clear(),
            }
            Some(())
        });
        let tail = Rc::new(tail);
        self.tail_receipts.borrow_mut().insert(local, tail.clone());
        tail
    }

    /// Whether no rank from which this one takes messages in its tail waits for messages to be taken that others take in theirs: then this
    /// rank may put its tail off.
    pub(super) fn may_put_off(&self, local: usize) -> bool {
        let tail = self.tail_receipts(local);
        tail.keys().all(|(sender, _)| self.waits_for_none(*sender))
    }

    fn waits_for_none(&self, local: usize) -> bool {
        if let Some(known) = self.waits_for_none.borrow().get(&local) {
            return *known;
        }
        let steps: Vec<Step> = self.plan.program(local).lanes.into_iter().flatten().collect();
        let mut sender = Sender::new(self, local, &steps);
        let _ = each_move(&steps, &mut |one, round| {
            sender.add(one, round);
            Some(())
        });
        self.waits_for_none.borrow_mut().insert(local, sender.waits_for_none);
        sender.waits_for_none
    }
}

/// From where a rank has sent what others may take late, and whether it has had to wait for that.
struct Sender {
    waits_for_none: bool,
    /// Of each receiver and channel how many messages are not taken late.
    early: HashMap<(usize, u16), usize>,
    /// Input and output are one where the factor can be in place: then by the output.
    spots: HashSet<(Buffer, i64)>,
    in_place: Option<i64>,
}

impl Sender {
    fn new(factor: &Factor, local: usize, steps: &[Step]) -> Sender {
        let mut early: HashMap<(usize, u16), usize> = HashMap::new();
        let _ = each_move(steps, &mut |one, _| {
            peers(&one.destinations).for_each(|link| *early.entry(link).or_default() += 1);
            Some(())
        });
        for ((peer, channel), messages) in &mut early {
            let late = factor.tail_receipts(*peer).get(&(local, *channel)).copied().unwrap_or(0);
            *messages = messages.saturating_sub(late);
        }
        let in_place = factor.plan.grid().in_place_offset(local);
        Sender { waits_for_none: true, early, spots: HashSet::new(), in_place }
    }

    fn add(&mut self, one: &Move, round: u32) {
        let written = self.spots(&one.destinations, round);
        self.waits_for_none &= !written.iter().any(|spot| self.spots.contains(spot));
        let mut is_late = false;
        for link in peers(&one.destinations) {
            let early = self.early.entry(link).or_default();
            is_late |= *early == 0;
            *early = early.saturating_sub(1);
        }
        if is_late {
            // A result that has no memory waits until it is taken.
            self.waits_for_none &= !written.is_empty() || one.reduction.is_none();
            let read = if one.reduction.is_none() { self.spots(&one.sources, round) } else { Vec::new() };
            self.spots.extend(written.into_iter().chain(read));
        }
    }

    fn spots(&self, operands: &[Operand], round: u32) -> Vec<(Buffer, i64)> {
        let of_span = |span: &Span| {
            let (buffer, offset) = match (span.buffer, self.in_place) {
                (Buffer::Input, Some(offset)) => (Buffer::Output, offset),
                (buffer, _) => (buffer, 0),
            };
            let start = i64::from(span.start + round * span.stride) + offset;
            (start..start + i64::from(span.len)).map(move |index| (buffer, index))
        };
        let spans = operands.iter().filter_map(|operand| match operand {
            Operand::Local(span) => Some(span),
            Operand::Peer { .. } => None,
        });
        spans.flat_map(of_span).collect()
    }
}

fn peers(operands: &[Operand]) -> impl Iterator<Item = (usize, u16)> {
    operands.iter().filter_map(|operand| match *operand {
        Operand::Peer { rank, channel } => Some((rank, channel)),
        Operand::Local(_) => None,
    })
}
