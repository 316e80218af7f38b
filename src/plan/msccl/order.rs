//! Which steps of one GPU are before which, by the order of blocks and by their dependencies alone.

use super::document::{Gpu, Kind, StepId};

/// For every step of a GPU, how many steps of each block have surely ended before it begins.
pub(super) struct Order {
    blocks: usize,
    /// Of each block the index of its first row.
    first: Vec<usize>,
    /// A row per step.
    ended: Vec<u32>,
}

/// Steps times blocks, and blocks times blocks, of one GPU.
const MAX_CELLS: usize = 1 << 26;

/// The GPU has more steps and blocks than can be ordered.
#[derive(Debug)]
pub(super) struct TooMany;

impl Order {
    pub(super) fn new(gpu: &Gpu) -> Result<Order, TooMany> {
        let blocks = gpu.blocks.len();
        let mut steps = 0;
        let first: Vec<usize> = gpu.blocks.iter().map(|block| (steps, steps += block.steps.len()).0).collect();
        if steps.max(blocks).checked_mul(blocks).is_none_or(|cells| cells > MAX_CELLS) {
            return Err(TooMany);
        }
        let mut order = Order { blocks, first, ended: vec![0; steps * blocks] };
        order.fill(gpu);
        Ok(order)
    }

    /// Goes through all blocks side by side, each as far as what it waits for is known. Steps in a circle of dependencies stay without
    /// knowledge; the checker finds the circle.
    fn fill(&mut self, gpu: &Gpu) {
        let mut next = vec![0; self.blocks];
        let mut known = vec![vec![0; self.blocks]; self.blocks];
        loop {
            let mut moved = false;
            for (index, block) in gpu.blocks.iter().enumerate() {
                while let Some(step) = block.steps.get(next[index]) {
                    if let Some(signal) = step.after {
                        let (other, last) = (signal.block as usize, signal.step as usize);
                        if next[other] <= last {
                            break;
                        }
                        let row = self.row(signal).to_vec();
                        let mine = known[index].iter_mut();
                        mine.zip(row).for_each(|(mine, more): (&mut u32, u32)| *mine = more.max(*mine));
                        known[index][other] = known[index][other].max(last as u32 + 1);
                    }
                    known[index][index] = next[index] as u32;
                    let id = StepId { block: index as u32, step: next[index] as u32 };
                    self.row_mut(id).copy_from_slice(&known[index]);
                    next[index] += 1;
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn row_at(&self, id: StepId) -> std::ops::Range<usize> {
        let start = (self.first[id.block as usize] + id.step as usize) * self.blocks;
        start..start + self.blocks
    }

    fn row(&self, id: StepId) -> &[u32] {
        &self.ended[self.row_at(id)]
    }

    fn row_mut(&mut self, id: StepId) -> &mut [u32] {
        let range = self.row_at(id);
        &mut self.ended[range]
    }

    /// Whether `earlier` has surely ended before `later` begins.
    pub(super) fn is_before(&self, earlier: StepId, later: StepId) -> bool {
        self.row(later)[earlier.block as usize] > earlier.step
    }
}

/// The dependencies that each step waits for: its own, and those of the `nop`s right before it. A `nop` with nothing behind it
/// waits in vain, and MSCCL leaves it out.
pub(super) fn waits_of(gpu: &Gpu, block: usize) -> Vec<Vec<StepId>> {
    let mut gathered = Vec::new();
    let steps = gpu.blocks[block].steps.iter();
    steps
        .map(|step| {
            gathered.extend(step.after);
            if step.kind == Kind::Nop { Vec::new() } else { std::mem::take(&mut gathered) }
        })
        .collect()
}
