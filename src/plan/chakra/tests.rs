//! Traces decoded again, by a decoder that shares no code with their writer, and played.

use super::*;
use crate::algorithm::{find, registry};
use crate::plan::Problem;
use crate::plan::check::check;
use crate::plan::check::tests::samples;
use std::collections::VecDeque;

/// A field of a decoded message.
#[derive(Clone, Debug)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn take_varint(bytes: &mut &[u8]) -> u64 {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).expect("a varint ends") + 1;
    let (varint, rest) = bytes.split_at(length);
    *bytes = rest;
    varint.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = take_varint(bytes) as usize;
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Value<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes);
        fields.push((
            key >> 3,
            match key & 7 {
                0 => Value::Number(take_varint(&mut bytes)),
                2 => Value::Bytes(take_bytes(&mut bytes)),
                other => panic!("wire type {other}"),
            },
        ));
    }
    fields
}

fn text(value: &Value) -> String {
    let Value::Bytes(bytes) = value else { panic!("{value:?} is no string") };
    String::from_utf8(bytes.to_vec()).expect("strings are UTF-8")
}

/// Name, field number and value of an `AttributeProto`.
fn attribute(value: &Value) -> (String, u64, String) {
    let Value::Bytes(bytes) = value else { panic!("{value:?} is no message") };
    let fields = fields(bytes);
    let [(1, name), (number, value)] = &fields[..] else { panic!("{fields:?}") };
    let value = match value {
        Value::Number(value) => value.to_string(),
        value => text(value),
    };
    (text(name), *number, value)
}

#[derive(Clone, Debug)]
struct Node {
    id: u64,
    kind: u64,
    after: Vec<u64>,
    attributes: HashMap<String, u64>,
}

const SEND: u64 = 5;
const RECEIVE: u64 = 6;

fn node(bytes: &[u8]) -> Node {
    let mut node = Node { id: u64::MAX, kind: 0, after: Vec::new(), attributes: HashMap::new() };
    for (number, value) in fields(bytes) {
        match (number, &value) {
            (1, Value::Number(id)) => node.id = *id,
            (2, name) => assert!(!text(name).is_empty()),
            (3, Value::Number(kind)) => node.kind = *kind,
            (5, Value::Bytes(packed)) => {
                let mut packed = *packed;
                while !packed.is_empty() {
                    node.after.push(take_varint(&mut packed));
                }
            }
            (10, value) => {
                let (name, number, value) = attribute(value);
                let expected = match name.as_str() {
                    "comm_src" | "comm_dst" | "comm_tag" => 7,
                    "comm_size" | "num_ops" => 9,
                    "tensor_size" => 13,
                    "is_cpu_op" => 27,
                    other => panic!("attribute {other}"),
                };
                assert_eq!(number, expected, "{name} has the type that the feeder reads");
                node.attributes.insert(name, value.parse().expect("a number"));
            }
            other => panic!("{other:?}"),
        }
    }
    node
}

struct Trace {
    metadata: HashMap<String, String>,
    nodes: Vec<Node>,
}

fn decode(mut file: &[u8]) -> Trace {
    let metadata = fields(take_bytes(&mut file));
    assert_eq!((metadata[0].0, text(&metadata[0].1).as_str()), (1, "0.0.4"));
    let attributes = metadata[1..].iter().map(|(number, value)| {
        assert_eq!(*number, 2);
        let (name, number, value) = attribute(value);
        assert_eq!(number, 29);
        (name, value)
    });
    let metadata = attributes.collect();
    let mut nodes = Vec::new();
    while !file.is_empty() {
        nodes.push(node(take_bytes(&mut file)));
    }
    Trace { metadata, nodes }
}

/// Plays all ranks' traces as a simulator would: a node starts when those that it names are done, a receive when its message is there; a send
/// is done when its message is taken. Everything comes to its end, and every message is taken by its own receive.
fn play(traces: &[Trace]) {
    type Key = (u64, u64, u64);
    let key = |node: &Node| -> Key {
        (node.attributes["comm_src"], node.attributes["comm_dst"], node.attributes["comm_tag"])
    };
    let mut done: Vec<Vec<bool>> = traces.iter().map(|trace| vec![false; trace.nodes.len()]).collect();
    let mut under_way: HashMap<Key, (usize, u64, u64)> = HashMap::new();
    let mut waiting: VecDeque<(usize, usize)> = traces
        .iter()
        .enumerate()
        .flat_map(|(rank, trace)| (0..trace.nodes.len()).map(move |node| (rank, node)))
        .collect();
    let mut idle = 0;
    while let Some((rank, index)) = waiting.pop_front() {
        assert!(idle <= waiting.len(), "{} nodes wait for ever", waiting.len() + 1);
        let node = &traces[rank].nodes[index];
        let is_ready = node.after.iter().all(|&id| done[rank][id as usize]);
        let message = under_way.get(&key_or_none(node, key)).copied();
        match (is_ready, node.kind) {
            (true, SEND) if !done[rank][index] && message.is_none_or(|(from, id, _)| (from, id) != (rank, node.id)) => {
                let size = node.attributes["comm_size"];
                let before = under_way.insert(key(node), (rank, node.id, size));
                assert!(before.is_none(), "two messages {:?}", key(node));
            }
            (true, RECEIVE) if message.is_some() => {
                let (from, id, size) = under_way.remove(&key(node)).expect("it was just seen");
                assert_eq!(size, node.attributes["comm_size"]);
                done[from][id as usize] = true;
                done[rank][index] = true;
            }
            (true, 4) => done[rank][index] = true,
            _ => {
                idle += 1;
                waiting.push_back((rank, index));
                continue;
            }
        }
        idle = 0;
    }
    assert!(under_way.is_empty() && done.iter().flatten().all(|done| *done), "messages are left over");
}

fn key_or_none(node: &Node, key: impl Fn(&Node) -> (u64, u64, u64)) -> (u64, u64, u64) {
    if node.attributes.contains_key("comm_src") { key(node) } else { (u64::MAX, u64::MAX, u64::MAX) }
}

/// Decodes and plays the traces of a plan, and compares what they say with what the proof counted.
fn assert_right(plan: &Plan, bytes: u64) -> Vec<Trace> {
    let checked = check(plan).unwrap_or_else(|flaw| panic!("{plan:?}: {flaw}"));
    let files = traces(&checked, bytes, 4).unwrap_or_else(|error| panic!("{plan:?}: {error}"));
    let traces: Vec<Trace> = files.iter().map(|file| decode(file)).collect();
    for (rank, trace) in traces.iter().enumerate() {
        assert_eq!(trace.metadata["collective"], plan.problem.collective.name());
        for (index, node) in trace.nodes.iter().enumerate() {
            assert_eq!(node.id, index as u64);
            assert!(node.after.iter().all(|id| *id < node.id), "dependencies point back: {node:?}");
            assert_eq!(node.attributes["is_cpu_op"], 0);
            let own = match node.kind {
                SEND => node.attributes["comm_src"],
                RECEIVE => node.attributes["comm_dst"],
                _ => continue,
            };
            assert_eq!(own, rank as u64);
        }
    }
    play(&traces);
    traces
}

fn sum(trace: &Trace, kind: u64, attribute: &str) -> u64 {
    trace.nodes.iter().filter(|node| node.kind == kind).map(|node| node.attributes[attribute]).sum()
}

fn problem(collective: Collective, ranks: usize) -> Problem {
    Problem::new(collective, ranks)
}

/// The textbook's figures: 2(N-1) messages of an N-th each, N-1 of them added.
#[test]
fn a_ring_sends_adds_and_receives_what_the_textbook_says() {
    let ranks = 5u64;
    let bytes = 4000;
    let traces = assert_right(&find("ring").unwrap().plan(&problem(Collective::AllReduce, 5)), bytes);
    for trace in &traces {
        let count = |kind| trace.nodes.iter().filter(|node| node.kind == kind).count() as u64;
        assert_eq!((count(SEND), count(RECEIVE), count(4)), (2 * (ranks - 1), 2 * (ranks - 1), ranks - 1));
        assert_eq!(sum(trace, SEND, "comm_size"), 2 * bytes * (ranks - 1) / ranks);
        assert_eq!(sum(trace, RECEIVE, "comm_size"), 2 * bytes * (ranks - 1) / ranks);
        assert_eq!(sum(trace, 4, "num_ops"), bytes / 4 * (ranks - 1) / ranks);
        assert_eq!((trace.metadata["algorithm"].as_str(), trace.metadata["bytes"].as_str()), ("ring", "4000"));
    }
}

#[test]
fn traces_of_every_registered_plan_come_to_their_end() {
    let mut played = 0;
    for algorithm in registry() {
        for collective in Collective::ALL.into_iter().filter(|collective| !collective.is_uneven()) {
            for ranks in 1..=6 {
                let tiles = if algorithm.pipelines() { 3 } else { 1 };
                let root = if collective.has_root() { ranks - 1 } else { 0 };
                let problem = Problem { root, tiles, ..problem(collective, ranks) };
                if algorithm.fits(&problem).is_ok() {
                    // So few elements that some chunks are empty, and many.
                    for bytes in [4 * ranks as u64, 5000] {
                        assert_right(&algorithm.plan(&problem), bytes);
                        played += 1;
                    }
                }
            }
        }
    }
    assert!(played > 150, "{played}");
}

/// They repeat, have several lanes, wait for each other and fold into peers alone.
#[test]
fn traces_of_the_samples_come_to_their_end() {
    samples::all().iter().for_each(|plan| drop(assert_right(plan, 480)));
}

/// What waits for a step of another lane depends on its nodes.
#[test]
fn waits_are_dependencies() {
    let traces = assert_right(&samples::pairs_all_reduce(3), 48);
    let nodes = &traces[0].nodes;
    let fold = nodes.iter().find(|node| node.kind == 4).expect("a fold");
    assert!(fold.after.len() == 2 && fold.after.iter().all(|id| nodes[*id as usize].kind == RECEIVE), "{fold:?}");
    let after_fold = nodes.iter().filter(|node| node.kind == SEND && node.after.contains(&fold.id));
    assert_eq!(after_fold.count(), 2);
}

/// An overwritten message is waited for.
#[test]
fn a_send_is_waited_for_by_who_overwrites_it() {
    let plan = crate::plan::text::parse(
        "plan x all_gather ranks=2 root=0 uneven=no tiles=1 blocks=1\n\
         rank 0\n scratch 0\n lane\n copy input[0] -> scratch[0], output[0]\n copy scratch[0] -> peer 1\n \
         copy peer 1 -> scratch[0]\n copy scratch[0] -> output[1]\n\
         rank 1\n lane\n copy input[0] -> output[1], peer 0\n copy peer 0 -> output[0]",
    );
    let traces = assert_right(&plan.unwrap(), 8);
    let send = traces[0].nodes.iter().find(|node| node.kind == SEND).expect("a send");
    let receive = traces[0].nodes.iter().find(|node| node.kind == RECEIVE).expect("a receive");
    assert!(receive.after.contains(&send.id), "{receive:?}");
}

#[test]
fn too_few_bytes_are_refused() {
    let checked = check(&find("ring").unwrap().plan(&problem(Collective::AllGather, 4))).unwrap();
    let told = traces(&checked, 15, 4).unwrap_err().to_string();
    assert_eq!(told, "15 bytes are less than this plan can cut: it takes 16 or more");
}
