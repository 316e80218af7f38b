//! Reads the format. A file may come from anywhere: it is bounded, nothing is believed, nothing recurses.

use super::document::{BUFFERS, Block, COLLECTIVES, Document, Gpu, Kind, Place, Placement, Protocol, Step, StepId};
use super::xml::{Element, Item, Items, error};
use crate::plan::text::{MAX_NAME_CHARS, TextError};
use crate::types::{Collective, Rank};
use std::collections::HashMap;

const MAX_TEXT_BYTES: usize = 1 << 28;
const MAX_RANKS: u32 = 1 << 20;
const MAX_CHUNKS: u32 = 1 << 24;
/// A short text may ask for so many chunks, and every byte for some more.
const CHUNKS_OF_ANY_TEXT: u64 = 1 << 18;
const CHUNKS_PER_BYTE: u64 = 4;

/// How many chunks all GPUs together may have, and how many all steps together may move, by the length of the text: work and memory are
/// in proportion to them.
pub(super) fn most_chunks(text: &str) -> u64 {
    CHUNKS_OF_ANY_TEXT + CHUNKS_PER_BYTE * text.len() as u64
}

impl Document {
    /// Reads a file. What it says may still be wrong in what it does.
    ///
    /// A block tells how far it has come at those of its steps that are marked with `hasdep`, and a waiter looks for that far or
    /// farther. So who waits for a step that is not marked waits for the next that is.
    ///
    /// # Errors
    /// The first thing that is not as the format has it, with its line and column.
    pub fn parse(text: &str) -> Result<Document, TextError> {
        Document::parse_within(text, most_chunks(text))
    }

    /// As [`Document::parse`], for so many chunks.
    pub(crate) fn parse_within(text: &str, most_chunks: u64) -> Result<Document, TextError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(error(text, 0, format!("the text is longer than {MAX_TEXT_BYTES} bytes")));
        }
        let mut items = Items::new(text);
        let algo = match items.next()? {
            Item::Start(element) if element.name == "algo" => element,
            Item::Start(element) => return Err(element.error(format!("`{}` where `algo` is to come", element.name))),
            _ => return Err(error(text, items.position(), "`algo` is to come")),
        };
        let mut document = header(&algo, most_chunks)?;
        let ranks = algo.bounded("ngpus", MAX_RANKS)?;
        let (mut gpus, mut places) = (Vec::new(), HashMap::new());
        let mut reader = Reader { text, items, ranks, chunks_left: most_chunks };
        reader.children(&algo, "gpu", |reader, element| {
            let id = element.bounded("id", ranks.saturating_sub(1))?;
            // Said before what is in it, in which much would look wrong then.
            if let Some(first) = places.insert(id, element.at_value("id")) {
                return Err(repeated(text, "gpu", id, first, element.at_value("id")));
            }
            gpus.push(Numbered { id, at: element.at_value("id"), item: reader.gpu(&element, id)? });
            Ok(())
        })?;
        if let Item::Start(element) = reader.items.next()? {
            return Err(element.error(format!("`{}` where the text should end", element.name)));
        }
        document.gpus = complete(text, gpus, ranks as usize, &algo, "gpu")?;
        document.root = root(&algo, &document)?;
        document.gpus.iter_mut().try_for_each(|gpu| resolve_dependencies(text, gpu))?;
        Ok(document)
    }
}

/// All but the GPUs, and the root that they may tell.
fn header(algo: &Element, most_chunks: u64) -> Result<Document, TextError> {
    let collective = algo.named("coll", COLLECTIVES.into_iter())?;
    let protocol = algo.named("proto", Protocol::ALL.into_iter().map(|protocol| (protocol.name(), protocol)))?;
    let in_place = algo.flag("inplace")?.unwrap_or(false);
    let apart = algo.flag("outofplace")?;
    let placement = match (in_place, apart.unwrap_or(!in_place)) {
        (true, true) => Placement::Both,
        (true, false) => Placement::InPlace,
        (false, true) => Placement::Apart,
        (false, false) => return Err(algo.error_at("outofplace", "the plan is for calls neither in place nor apart")),
    };
    if in_place && collective == Collective::AllToAll {
        return Err(algo.error_at("inplace", "an all-to-all in place is nothing that can be checked"));
    }
    let chunks = algo.bounded("nchunksperloop", MAX_CHUNKS)?;
    let ranks = algo.bounded("ngpus", MAX_RANKS)?;
    if ranks == 0 || chunks == 0 {
        return Err(algo.error("a plan for no GPUs, or of no chunks"));
    }
    let all_chunks = u64::from(chunks) * u64::from(ranks);
    if all_chunks > most_chunks {
        let told = format!(
            "{ranks} GPUs of {chunks} chunks are {all_chunks} chunks, and a text of this length has at most {most_chunks}"
        );
        return Err(algo.error_at("nchunksperloop", told));
    }
    let is_divided = !matches!(collective, Collective::AllReduce | Collective::Broadcast | Collective::Reduce);
    if is_divided && chunks % ranks != 0 {
        let told = format!("{chunks} chunks are to be divided among {ranks} GPUs");
        return Err(algo.error_at("nchunksperloop", told));
    }
    let name = algo.required("name")?.to_owned();
    if name.chars().count() > MAX_NAME_CHARS {
        return Err(algo.error_at("name", format!("a name of more than {MAX_NAME_CHARS} characters")));
    }
    Ok(Document { name, protocol, collective, root: 0, chunks, placement, gpus: Vec::new(), most_chunks })
}

/// As the attribute `root` says, which is our own, or the only GPU that has the one-sided buffer.
fn root(algo: &Element, document: &Document) -> Result<Rank, TextError> {
    if !document.collective.has_root() {
        return Ok(0);
    }
    if algo.value("root").is_some() {
        return Ok(algo.bounded("root", document.gpus.len() as u32 - 1)? as Rank);
    }
    let has = |gpu: &Gpu| match document.collective {
        Collective::Broadcast | Collective::Scatter => gpu.input_chunks > 0,
        _ => gpu.output_chunks > 0,
    };
    let mut roots = (0..).zip(&document.gpus).filter(|(_, gpu)| has(gpu)).map(|(rank, _)| rank);
    match (roots.next(), roots.next()) {
        (Some(root), None) => Ok(root),
        _ => Ok(0),
    }
}

/// A GPU or a block as the text has it, in any order.
struct Numbered<T> {
    id: u32,
    /// Where the id stands in the text, in bytes.
    at: usize,
    item: T,
}

fn repeated(text: &str, what: &str, id: u32, first: usize, again: usize) -> TextError {
    let line = text[..first].matches('\n').count() + 1;
    let told = format!("a second `{what}` with id {id}, which that in line {line} has: give each an id of its own");
    error(text, again, told)
}

/// All of them in order, each once and without a gap.
fn complete<T>(
    text: &str,
    mut items: Vec<Numbered<T>>,
    count: usize,
    parent: &Element,
    what: &str,
) -> Result<Vec<T>, TextError> {
    items.sort_by_key(|item| item.id);
    if let Some([one, other]) = items.array_windows().find(|[one, next]| one.id == next.id) {
        return Err(repeated(text, what, one.id, one.at.min(other.at), one.at.max(other.at)));
    }
    let gap = (0..).zip(&items).find(|(id, item)| item.id != *id).map(|(id, _)| id as usize);
    match gap.or((items.len() < count).then_some(items.len())) {
        Some(id) => Err(parent.error(format!("`{}` without `{what}` {id}", parent.name))),
        None => Ok(items.into_iter().map(|item| item.item).collect()),
    }
}

struct Reader<'a> {
    text: &'a str,
    items: Items<'a>,
    ranks: u32,
    /// For the steps to come.
    chunks_left: u64,
}

impl<'a> Reader<'a> {
    /// Calls `child` with every element in `parent`, which all have this name.
    fn children(
        &mut self,
        parent: &Element,
        name: &str,
        mut child: impl FnMut(&mut Reader<'a>, Element<'a>) -> Result<(), TextError>,
    ) -> Result<(), TextError> {
        if parent.is_closed {
            return Ok(());
        }
        loop {
            match self.items.next()? {
                Item::End => return Ok(()),
                Item::Start(element) if element.name == name => child(self, element)?,
                Item::Start(element) => {
                    let told = format!("`{}` in `{}`, where only `{name}` stands", element.name, parent.name);
                    return Err(element.error(told));
                }
                Item::Eof => {
                    let told = format!("the text ends inside `{}`", parent.name);
                    return Err(error(self.text, self.text.trim_end().len(), told));
                }
            }
        }
    }

    fn nothing_in(&mut self, parent: &Element) -> Result<(), TextError> {
        if parent.is_closed {
            return Ok(());
        }
        match self.items.next()? {
            Item::End => Ok(()),
            Item::Start(element) => Err(element.error(format!("`{}` in `{}`", element.name, parent.name))),
            Item::Eof => Err(parent.error(format!("the text ends inside `{}`", parent.name))),
        }
    }

    fn gpu(&mut self, element: &Element, rank: u32) -> Result<Gpu, TextError> {
        let chunks = |key| element.bounded(key, MAX_CHUNKS);
        let mut gpu = Gpu {
            input_chunks: chunks("i_chunks")?,
            output_chunks: chunks("o_chunks")?,
            scratch_chunks: chunks("s_chunks")?,
            blocks: Vec::new(),
        };
        let mut blocks = Vec::new();
        self.children(element, "tb", |reader, element| {
            let block = reader.block(&element, rank)?;
            blocks.push(Numbered { id: element.bounded("id", u32::MAX)?, at: element.at_value("id"), item: block });
            Ok(())
        })?;
        let count = blocks.len();
        gpu.blocks = complete(self.text, blocks, count, element, "tb")?;
        Ok(gpu)
    }

    fn block(&mut self, element: &Element, rank: u32) -> Result<Block, TextError> {
        let peer = |key| match element.number(key)? {
            -1 => Ok(None),
            peer if peer == i64::from(rank) => Err(element.error_at(key, "its own GPU as peer")),
            peer => match u32::try_from(peer) {
                Ok(peer) if peer < self.ranks => Ok(Some(peer as Rank)),
                _ => Err(element.error_at(key, format!("GPU {peer} of {}", self.ranks))),
            },
        };
        let (send, receive) = (peer("send")?, peer("recv")?);
        // A block that only copies may have no channel.
        let channel = match (element.number("chan")?, send.or(receive)) {
            (-1, None) => 0,
            _ => element.bounded("chan", u32::from(u16::MAX))? as u16,
        };
        let mut block = Block { send, receive, channel, steps: Vec::new() };
        let mut steps = Vec::new();
        self.children(element, "step", |reader, element| {
            let expected = steps.len();
            if element.number("s")? != expected as i64 {
                return Err(
                    element.error_at("s", format!("step {} where step {expected} is to come", element.number("s")?))
                );
            }
            let step = step(&element, &block)?;
            match reader.chunks_left.checked_sub(u64::from(step.count)) {
                Some(left) => reader.chunks_left = left,
                None => {
                    return Err(element.error_at("cnt", "more chunks to move than a text of this length may ask for"));
                }
            }
            steps.push(step);
            reader.nothing_in(&element)
        })?;
        block.steps = steps;
        Ok(block)
    }
}

fn step(element: &Element, block: &Block) -> Result<Step, TextError> {
    let kind = element.named("type", Kind::ALL.into_iter().map(|kind| (kind.name(), kind)))?;
    let place = |is_used: bool, buffer: &'static str, offset: &str| {
        if !is_used {
            return Ok(Place { buffer: BUFFERS[0].1, offset: 0 });
        }
        let buffer = element.named(buffer, BUFFERS.into_iter())?;
        Ok(Place { buffer, offset: element.bounded(offset, MAX_CHUNKS)? })
    };
    let (source, destination) = (place(kind.reads(), "srcbuf", "srcoff")?, place(kind.writes(), "dstbuf", "dstoff")?);
    let count = match kind {
        Kind::Nop => 0,
        _ => element.bounded("cnt", MAX_CHUNKS)?,
    };
    if kind != Kind::Nop && count == 0 {
        return Err(element.error_at("cnt", "a step of no chunks"));
    }
    for (needs, peer, key) in [(kind.sends(), block.send, "send"), (kind.receives(), block.receive, "recv")] {
        if needs && peer.is_none() {
            return Err(element.error_at("type", format!("`{}` in a `tb` whose `{key}` is -1", kind.name())));
        }
    }
    let after = match (element.optional_number("depid")?.unwrap_or(-1), element.optional_number("deps")?.unwrap_or(-1))
    {
        (-1, _) => None,
        _ => Some(StepId { block: element.bounded("depid", u32::MAX)?, step: element.bounded("deps", u32::MAX)? }),
    };
    let is_awaited = element.flag("hasdep")?.unwrap_or(false);
    Ok(Step { kind, source, destination, count, after, is_awaited, at: element.at })
}

/// Makes every dependency one on the step whose end is told, see [`Document::parse`]. A `nop` tells nothing.
fn resolve_dependencies(text: &str, gpu: &mut Gpu) -> Result<(), TextError> {
    let told: Vec<Vec<Option<u32>>> = gpu.blocks.iter().map(|block| told_by(&block.steps)).collect();
    for step in gpu.blocks.iter_mut().flat_map(|block| &mut block.steps) {
        let Some(StepId { block, step: awaited }) = &mut step.after else { continue };
        let told = told.get(*block as usize).and_then(|steps| steps.get(*awaited as usize));
        let wrong = |what: &str| Err(error(text, step.at, format!("waits for step {awaited} of tb {block}, {what}")));
        match told {
            None => return wrong("which there is not"),
            Some(None) => {
                return wrong("and neither that nor a later step of it has `hasdep=\"1\"`: it waits for ever");
            }
            Some(Some(told)) => *awaited = *told,
        }
    }
    Ok(())
}

/// For each step the first from there on whose end is told.
fn told_by(steps: &[Step]) -> Vec<Option<u32>> {
    let mut next = None;
    let mut told = vec![None; steps.len()];
    for (index, step) in steps.iter().enumerate().rev() {
        if step.is_awaited && step.kind != Kind::Nop {
            next = Some(index as u32);
        }
        told[index] = next;
    }
    told
}
