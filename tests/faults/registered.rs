//! Calls on windows, whose memory the peers read where it lies: what comes out is compared every time.

use unisono::{Communicator, Error, ReduceOp, Window};

/// Blocks of every rank for one collective.
pub struct Registered {
    collective: String,
    count: usize,
    input: Window<i32>,
    output: Window<i32>,
}

/// No sum, block or contribution of a call.
const PAINT: i32 = 0x5aa5_0ff0;

impl Registered {
    /// Collective.
    pub fn new(communicator: &mut Communicator, collective: &str, count: usize) -> Result<Registered, Error> {
        let whole = count * communicator.size();
        let (mut input, output) = (communicator.alloc(whole)?, communicator.alloc(whole)?);
        input.fill(contribution(communicator.rank()));
        Ok(Registered { collective: collective.to_owned(), count, input, output })
    }

    /// Calls once; whether the result is right.
    pub fn call(&mut self, communicator: &mut Communicator) -> Result<bool, Error> {
        let (count, input, output) = (self.count, &self.input, &mut self.output);
        let (rank, size) = (communicator.rank(), communicator.size());
        let sum: i32 = (0..size).map(contribution).sum();
        let holds = |block: &[i32], value: i32| block.iter().all(|element| *element == value);
        Ok(match self.collective.as_str() {
            "all_reduce" => {
                communicator.all_reduce(&input[..count], &mut output[..count], ReduceOp::Sum)?;
                holds(&output[..count], sum)
            }
            "all_reduce_in_place" => {
                output[..count].fill(contribution(rank));
                communicator.all_reduce_in_place(&mut output[..count], ReduceOp::Sum)?;
                holds(&output[..count], sum)
            }
            "reduce_scatter" => {
                communicator.reduce_scatter(input, &mut output[..count], ReduceOp::Sum)?;
                holds(&output[..count], sum)
            }
            "all_gather" => {
                communicator.all_gather(&input[..count], output)?;
                output.chunks_exact(count).enumerate().all(|(rank, block)| holds(block, contribution(rank)))
            }
            "broadcast" => {
                output.fill(contribution(rank));
                communicator.broadcast(output, 0)?;
                holds(output, contribution(0))
            }
            other => panic!("unknown collective {other}"),
        })
    }

    pub fn paint(&mut self) {
        self.input.fill(PAINT);
        self.output.fill(PAINT);
    }

    pub fn is_painted(&self) -> bool {
        self.input.iter().chain(self.output.iter()).all(|element| *element == PAINT)
    }
}

fn contribution(rank: usize) -> i32 {
    rank as i32 + 1
}
