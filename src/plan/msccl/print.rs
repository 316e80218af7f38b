//! A document as the text of a file.

use super::document::{BUFFERS, Block, COLLECTIVES, Document, Gpu, Kind, Place, Placement, Step};
use crate::plan::Buffer;
use std::fmt;

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Document { protocol, chunks, gpus, .. } = self;
        let channels = gpus.iter().flat_map(|gpu| &gpu.blocks).map(|block| u32::from(block.channel) + 1).max();
        let (in_place, apart) = match self.placement {
            Placement::Apart => (0, 1),
            Placement::InPlace => (1, 0),
            Placement::Both => (1, 1),
        };
        let (collective, _) = COLLECTIVES
            .iter()
            .find(|(_, collective)| *collective == self.collective)
            .expect("a document is of a collective that the format has");
        write!(
            f,
            "<algo name=\"{}\" proto=\"{}\" nchannels=\"{}\" nchunksperloop=\"{chunks}\" ngpus=\"{}\" \
             coll=\"{collective}\" inplace=\"{in_place}\" outofplace=\"{apart}\" minBytes=\"0\" maxBytes=\"0\"",
            quick_xml::escape::escape(&self.name),
            protocol.name(),
            channels.unwrap_or(1),
            gpus.len(),
        )?;
        if self.collective.has_root() {
            write!(f, " root=\"{}\"", self.root)?;
        }
        writeln!(f, ">")?;
        (0..).zip(gpus).try_for_each(|(id, gpu)| write_gpu(f, id, gpu))?;
        writeln!(f, "</algo>")
    }
}

fn write_gpu(f: &mut fmt::Formatter<'_>, id: usize, gpu: &Gpu) -> fmt::Result {
    let Gpu { input_chunks, output_chunks, scratch_chunks, blocks } = gpu;
    writeln!(
        f,
        "  <gpu id=\"{id}\" i_chunks=\"{input_chunks}\" o_chunks=\"{output_chunks}\" s_chunks=\"{scratch_chunks}\">"
    )?;
    (0..).zip(blocks).try_for_each(|(id, block)| write_block(f, id, block))?;
    writeln!(f, "  </gpu>")
}

fn write_block(f: &mut fmt::Formatter<'_>, id: usize, block: &Block) -> fmt::Result {
    let peer = |peer: Option<usize>| peer.map_or(-1, |rank| rank as i64);
    let (send, receive) = (peer(block.send), peer(block.receive));
    writeln!(f, "    <tb id=\"{id}\" send=\"{send}\" recv=\"{receive}\" chan=\"{}\">", block.channel)?;
    (0..).zip(&block.steps).try_for_each(|(s, step)| write_step(f, s, step))?;
    writeln!(f, "    </tb>")
}

/// Operands that a step does not use repeat the other, as files of the compiler have it; those of a `nop` are nowhere.
fn write_step(f: &mut fmt::Formatter<'_>, s: usize, step: &Step) -> fmt::Result {
    let kind = step.kind;
    let place = |place: Place| (letter(place.buffer), i64::from(place.offset));
    let (source, destination) = match (kind.reads(), kind.writes()) {
        (true, true) => (place(step.source), place(step.destination)),
        (true, false) => (place(step.source), place(step.source)),
        (false, true) => (place(step.destination), place(step.destination)),
        (false, false) => (("i", -1), ("o", -1)),
    };
    let (block, after) = step.after.map_or((-1, -1), |after| (i64::from(after.block), i64::from(after.step)));
    let count = if kind == Kind::Nop { 0 } else { step.count };
    writeln!(
        f,
        "      <step s=\"{s}\" type=\"{}\" srcbuf=\"{}\" srcoff=\"{}\" dstbuf=\"{}\" dstoff=\"{}\" cnt=\"{}\" \
         depid=\"{block}\" deps=\"{after}\" hasdep=\"{}\"/>",
        kind.name(),
        source.0,
        source.1,
        destination.0,
        destination.1,
        count,
        u8::from(step.is_awaited)
    )
}

fn letter(buffer: Buffer) -> &'static str {
    BUFFERS.iter().find(|(_, of)| *of == buffer).expect("every buffer has a letter").0
}
