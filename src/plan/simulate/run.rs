//! The event loop: lanes that wait for messages, messages that wait for lanes and for each other.

use super::flows::{FlowId, Flows};
use super::fold::Fold;
use super::path::{Cause, Leg, Work};
use super::programs::Programs;
use super::trace::Slice;
use super::ways::{self, Used, Way};
use super::{ClassUse, Failed, Simulated};
use crate::plan::Through;
use crate::topology::{LinkClass, Topology};
use crate::types::Rank;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::rc::Rc;

/// A number of a message, step or lane that is none.
const NONE: u32 = u32::MAX;

/// The side that the messages of one flow pass together: the sender's if a switch copies, the receiver's if it folds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Once {
    Neither,
    Outgoing,
    Incoming,
}

#[derive(Clone, Copy)]
struct Message {
    /// The lane that waits for it to arrive.
    taker: u32,
    /// The lane that waits until its memory is free.
    owner: u32,
    is_ready: bool,
    /// It flows only when its taker asks for it: a fold in a switch reads it.
    is_offered: bool,
    claimed_by: u32,
    start_ns: f64,
    /// From when its bytes are out until it is there.
    after_ns: f64,
    passed_ns: f64,
    arrived_ns: f64,
    ready_cause: Cause,
}

#[derive(Clone, Copy, Default)]
struct LinkState {
    /// Messages that were claimed by steps, that set out, that passed.
    claimed: u32,
    started: u32,
    passed: u32,
}

#[derive(Clone, Copy)]
struct LaneState {
    next: usize,
    /// What the step `next` still waits for.
    unmet: u32,
    cause: Cause,
}

#[derive(Clone, Copy)]
struct Done {
    start_ns: f64,
    end_ns: f64,
    cause: Cause,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(u32),
    /// The current step of this lane ends.
    Ends(u32),
}

/// Nanoseconds as an ordered number.
#[derive(Clone, Copy, PartialEq)]
struct At(f64);
impl Eq for At {}
impl PartialOrd for At {
    fn partial_cmp(&self, other: &At) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for At {
    fn cmp(&self, other: &At) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

pub(super) struct Run<'a> {
    programs: &'a Programs,
    topology: &'a Topology,
    reduces_in_switch: bool,
    ways: Vec<Way>,
    used: Vec<Used>,
    flows: Flows,
    /// Messages that travel in each flow.
    cargo: Vec<Vec<u32>>,
    messages: Vec<Message>,
    links: Vec<LinkState>,
    lanes: Vec<LaneState>,
    done: Vec<Done>,
    is_complete: Vec<bool>,
    /// For a lane that folds in a switch, the messages that it has claimed and those not yet ready.
    pulls: HashMap<u32, (Vec<u32>, u32)>,
    /// Of a message that a switch copies with others and that has not set out, all of them.
    spreads: HashMap<u32, Rc<[u32]>>,
    /// Lanes that wait for a step of another.
    waiters: HashMap<u32, Vec<u32>>,
    events: BinaryHeap<Reverse<(At, Event)>>,
    /// Lanes that may go on.
    runnable: Vec<u32>,
    now_ns: f64,
    last: Cause,
    /// Ranks for which each simulated one stands.
    places: usize,
}

impl<'a> Run<'a> {
    pub(super) fn new(programs: &'a Programs, topology: &'a Topology, fold: Option<&Fold>) -> Result<Run<'a>, Failed> {
        let mut flows = Flows::default();
        let (ways, used) = ways::lay(&programs.links, topology, fold, &mut flows)?;
        let message = Message {
            taker: NONE,
            owner: NONE,
            is_ready: false,
            is_offered: false,
            claimed_by: NONE,
            start_ns: f64::NAN,
            after_ns: 0.0,
            passed_ns: f64::NAN,
            arrived_ns: f64::NAN,
            ready_cause: Cause::Start,
        };
        let lane = |lane: &super::programs::Lane| LaneState { next: lane.first, unmet: 0, cause: Cause::Start };
        Ok(Run {
            ways,
            used,
            flows,
            cargo: Vec::new(),
            messages: vec![message; programs.messages.len()],
            links: vec![LinkState::default(); programs.links.len()],
            lanes: programs.lanes.iter().map(lane).collect(),
            done: vec![Done { start_ns: 0.0, end_ns: 0.0, cause: Cause::Start }; programs.steps.len()],
            is_complete: vec![false; programs.steps.len()],
            pulls: HashMap::new(),
            spreads: HashMap::new(),
            waiters: HashMap::new(),
            events: BinaryHeap::new(),
            runnable: Vec::new(),
            now_ns: 0.0,
            last: Cause::Start,
            places: fold.map_or(1, Fold::places),
            programs,
            topology,
            reduces_in_switch: topology.reduces_in_switch(),
        })
    }

    pub(super) fn finish(mut self, slices: Option<&mut Vec<Slice>>) -> Simulated {
        for lane in (0..self.lanes.len() as u32).rev() {
            self.enter(lane);
        }
        let mut ended: Vec<FlowId> = Vec::new();
        loop {
            self.go_on();
            self.flows.settle(self.now_ns);
            let event = self.events.peek().map(|Reverse((At(at), _))| *at);
            let next = match (event, self.flows.next_end_ns()) {
                (Some(a), Some(b)) => a.min(b),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => break,
            };
            self.now_ns = next.max(self.now_ns);
            self.flows.end_due(self.now_ns, &mut ended);
            // All first: what sets out next may take the place of a flow that has just ended.
            let passed: Vec<u32> =
                ended.drain(..).flat_map(|flow| std::mem::take(&mut self.cargo[flow as usize])).collect();
            passed.into_iter().for_each(|message| self.pass(message));
            let by = At(self.now_ns + self.now_ns * 1e-12 + 1e-9);
            while self.events.peek().is_some_and(|Reverse((at, _))| *at <= by) {
                let Reverse((_, event)) = self.events.pop().expect("it was just seen");
                match event {
                    Event::Arrives(message) => self.arrive(message),
                    Event::Ends(lane) => self.complete(lane),
                }
            }
        }
        let stuck = self.lanes.iter().zip(&self.programs.lanes).find(|(state, lane)| state.next < lane.end);
        assert!(stuck.is_none(), "a proved plan came to a stop in the simulation");
        if let Some(slices) = slices {
            self.write_slices(slices);
        }
        self.result()
    }

    fn go_on(&mut self) {
        while let Some(lane) = self.runnable.pop() {
            self.execute(lane);
        }
    }

    /// Finds out what the next step of a lane waits for.
    fn enter(&mut self, lane: u32) {
        let programs = self.programs;
        let at = self.lanes[lane as usize].next;
        if at == programs.lanes[lane as usize].end {
            return;
        }
        let step = &programs.steps[at];
        let mut unmet = 0;
        if let Some(after) = step.after.filter(|after| !self.is_complete[*after as usize]) {
            self.waiters.entry(after).or_default().push(lane);
            unmet += 1;
        }
        for &message in &step.awaits {
            if self.messages[message as usize].arrived_ns.is_nan() {
                self.messages[message as usize].owner = lane;
                unmet += 1;
            }
        }
        let pulls = step.through == Through::Switch && step.inboxes.len() > 1;
        let mut pulled = Vec::new();
        for &link in &step.inboxes {
            let state = &mut self.links[link as usize];
            let number = programs.links[link as usize].first + state.claimed;
            debug_assert!(state.claimed < programs.links[link as usize].messages);
            state.claimed += 1;
            let message = &mut self.messages[number as usize];
            message.claimed_by = lane;
            if message.arrived_ns.is_nan() {
                message.taker = lane;
                unmet += 1;
            }
            if pulls && self.ways[link as usize].in_domain && self.reduces_in_switch {
                pulled.push(number);
            } else if message.is_ready && message.is_offered {
                message.is_offered = false;
                message.ready_cause = self.lanes[lane as usize].cause;
                self.set_out(number);
            }
        }
        self.lanes[lane as usize].unmet = unmet;
        if !pulled.is_empty() {
            let missing = pulled.iter().filter(|one| !self.messages[**one as usize].is_ready).count() as u32;
            self.pulls.insert(lane, (pulled, missing));
            if missing == 0 {
                self.pull(lane, self.lanes[lane as usize].cause);
            }
        }
        if unmet == 0 {
            self.runnable.push(lane);
        }
    }

    /// All that a fold in a switch reads is ready: it flows as one.
    fn pull(&mut self, lane: u32, cause: Cause) {
        let (pulled, _) = self.pulls.remove(&lane).expect("a lane that pulls");
        for message in &pulled {
            self.messages[*message as usize].ready_cause = cause;
        }
        self.flow_of(pulled, Once::Incoming);
    }

    /// The step of a lane has all that it waits for.
    fn execute(&mut self, lane: u32) {
        let state = self.lanes[lane as usize];
        self.done[state.next] = Done { start_ns: self.now_ns, end_ns: self.now_ns, cause: state.cause };
        let step = &self.programs.steps[state.next];
        if step.posts_at_start {
            self.post(state.next, state.cause);
        }
        let local_bytes = step.local_bytes;
        if local_bytes == 0 {
            self.complete(lane);
        } else {
            let takes_ns = local_bytes as f64 / self.topology.gpu.memory_bytes_per_s * 1e9;
            self.events.push(Reverse((At(self.now_ns + takes_ns), Event::Ends(lane))));
        }
    }

    fn complete(&mut self, lane: u32) {
        let at = self.lanes[lane as usize].next;
        self.done[at].end_ns = self.now_ns;
        self.is_complete[at] = true;
        let cause = Cause::Step(at as u32);
        self.last = cause;
        self.lanes[lane as usize] = LaneState { next: at + 1, unmet: 0, cause };
        if !self.programs.steps[at].posts_at_start {
            self.post(at, cause);
        }
        for waiter in self.waiters.remove(&(at as u32)).unwrap_or_default() {
            self.meet(waiter, cause);
        }
        self.enter(lane);
    }

    /// Makes the messages of a step ready.
    fn post(&mut self, step: usize, cause: Cause) {
        let step = &self.programs.steps[step];
        for &message in &step.posts {
            let one = &mut self.messages[message as usize];
            (one.is_ready, one.ready_cause) = (true, cause);
        }
        let by_switch = step.through == Through::Switch && self.reduces_in_switch;
        let in_domain = |one: &&u32| self.ways[self.link_of(**one)].in_domain;
        let copied: Vec<u32> = step.posts.iter().filter(in_domain).copied().collect();
        let spreads = by_switch && copied.len() > 1;
        if spreads {
            let group: Rc<[u32]> = copied.into();
            self.spreads.extend(group.iter().map(|message| (*message, group.clone())));
            self.set_out(group[0]);
        }
        for &message in &step.posts {
            if spreads && self.ways[self.link_of(message)].in_domain {
                continue;
            }
            let claimer = self.messages[message as usize].claimed_by;
            if claimer != NONE && self.pulls.contains_key(&claimer) && self.is_pulled(claimer, message) {
                let missing = &mut self.pulls.get_mut(&claimer).expect("it was just seen").1;
                *missing -= 1;
                if *missing == 0 {
                    self.pull(claimer, cause);
                }
            } else if by_switch && claimer == NONE && self.ways[self.link_of(message)].in_domain {
                self.messages[message as usize].is_offered = true;
            } else {
                self.set_out(message);
            }
        }
    }

    fn is_pulled(&self, lane: u32, message: u32) -> bool {
        self.pulls[&lane].0.contains(&message)
    }

    fn link_of(&self, message: u32) -> usize {
        self.programs.messages[message as usize].1 as usize
    }

    /// Whether a message's channel is free for it.
    fn is_next(&self, message: u32) -> bool {
        let link = self.link_of(message);
        let state = self.links[link];
        let next = self.programs.links[link].first + state.started;
        next == message && state.started == state.passed
    }

    /// A message flows as soon as its channel is free, by itself, or with all others that a switch copies, once all their channels are.
    fn set_out(&mut self, message: u32) {
        match self.spreads.get(&message).cloned() {
            Some(group) if group.iter().all(|one| self.is_next(*one)) => {
                group.iter().for_each(|one| _ = self.spreads.remove(one));
                self.flow_of(group.to_vec(), Once::Outgoing);
            }
            None if self.is_next(message) => self.flow_of(vec![message], Once::Neither),
            Some(_) | None => {}
        }
    }

    fn flow_of(&mut self, messages: Vec<u32>, once: Once) {
        let mut resources: Vec<u32> = Vec::new();
        let bytes = self.programs.messages[messages[0] as usize].0 as f64;
        // What a switch folds or copies is read and written without a message for each.
        let way = &self.ways[self.link_of(messages[0])];
        let (bytes, besides) = match once {
            Once::Neither => (bytes, way.gap_bytes),
            Once::Outgoing | Once::Incoming => (bytes * self.topology.reached.switch_factor(), 0.0),
        };
        let after_ns = way.latency_ns - if once == Once::Neither { way.gap_ns.min(way.latency_ns) } else { 0.0 };
        for &message in &messages {
            let link = self.link_of(message);
            self.links[link].started += 1;
            let one = &mut self.messages[message as usize];
            (one.start_ns, one.after_ns) = (self.now_ns, after_ns);
            let way = &self.ways[link];
            let first = message == messages[0];
            for (side, passed_once) in
                [(&way.outgoing, once == Once::Outgoing), (&way.incoming, once == Once::Incoming)]
            {
                for resource in side {
                    if first || !passed_once || !resources.contains(resource) {
                        resources.push(*resource);
                    }
                }
            }
        }
        let flow = self.flows.start(self.now_ns, resources, bytes, besides) as usize;
        if flow == self.cargo.len() {
            self.cargo.push(Vec::new());
        }
        self.cargo[flow] = messages;
    }

    /// The bytes of a message are out.
    fn pass(&mut self, message: u32) {
        let link = self.link_of(message);
        self.links[link].passed += 1;
        self.messages[message as usize].passed_ns = self.now_ns;
        let at = self.now_ns + self.messages[message as usize].after_ns;
        self.events.push(Reverse((At(at), Event::Arrives(message))));
        let next = self.programs.links[link].first + self.links[link].started;
        let more = self.links[link].started < self.programs.links[link].messages;
        if more && self.messages[next as usize].is_ready && !self.messages[next as usize].is_offered {
            let one = &mut self.messages[next as usize];
            let claimer = one.claimed_by;
            one.ready_cause = Cause::Passed(message);
            if claimer == NONE || !self.pulls.get(&claimer).is_some_and(|pull| pull.0.contains(&next)) {
                self.set_out(next);
            }
        }
    }

    fn arrive(&mut self, message: u32) {
        let one = &mut self.messages[message as usize];
        one.arrived_ns = self.now_ns;
        let waiting = [std::mem::replace(&mut one.taker, NONE), std::mem::replace(&mut one.owner, NONE)];
        self.last = Cause::Arrival(message);
        for lane in waiting.into_iter().filter(|lane| *lane != NONE) {
            self.meet(lane, Cause::Arrival(message));
        }
    }

    /// A lane has one thing less to wait for.
    fn meet(&mut self, lane: u32, cause: Cause) {
        let state = &mut self.lanes[lane as usize];
        state.unmet -= 1;
        state.cause = cause;
        if state.unmet == 0 {
            self.runnable.push(lane);
        }
    }

    fn result(&self) -> Simulated {
        Simulated {
            time_ns: self.now_ns,
            messages: self.messages.len(),
            is_folded: self.places > 1,
            uses: self.uses(),
            critical_path: self.critical_path(),
        }
    }

    fn uses(&self) -> Vec<ClassUse> {
        let mut classes: BTreeMap<LinkClass, (ClassUse, usize)> = BTreeMap::new();
        for (number, Used { id, sharers }) in (0..).zip(&self.used) {
            let resource = self.topology.resource(*id);
            let bytes = self.flows.passed_bytes(number);
            // Of a resource that several share, each simulated flow stands for all of theirs.
            let bytes = bytes * *sharers as f64;
            let share = bytes / (resource.bytes_per_s * self.now_ns / 1e9).max(f64::MIN_POSITIVE);
            let unused = ClassUse {
                class: resource.class,
                bytes: 0.0,
                busiest_share: 0.0,
                mean_share: 0.0,
                busiest: String::new(),
            };
            let (class, used) = classes.entry(resource.class).or_insert((unused, 0));
            if bytes == 0.0 {
                continue;
            }
            if !resource.is_limit() {
                // A unit's way into the spine is one for all of its ranks.
                let alike = if resource.is_link() { self.places } else { 1 };
                class.bytes += bytes * alike as f64;
            }
            *used += 1;
            class.mean_share += (share - class.mean_share) / *used as f64;
            if share > class.busiest_share {
                (class.busiest_share, class.busiest) = (share, resource.to_string());
            }
        }
        classes.into_values().filter(|(_, used)| *used > 0).map(|(class, _)| class).collect()
    }

    fn critical_path(&self) -> Vec<Leg> {
        let mut legs = Vec::new();
        let mut cause = self.last;
        loop {
            cause = match cause {
                Cause::Start => break,
                Cause::Step(step) => {
                    let Done { start_ns, end_ns, cause } = self.done[step as usize];
                    if end_ns > start_ns {
                        let lane = self.programs.lanes.partition_point(|lane| lane.end <= step as usize);
                        let (rank, bytes) =
                            (self.programs.lanes[lane].rank, self.programs.steps[step as usize].local_bytes);
                        legs.push(Leg { start_ns, end_ns, work: Work::Local { rank, bytes } });
                    }
                    cause
                }
                Cause::Arrival(message) => {
                    let (from, to, class) = self.ends_of(message);
                    let one = &self.messages[message as usize];
                    let work = Work::Latency { from, to, class };
                    legs.push(Leg { start_ns: one.passed_ns, end_ns: one.arrived_ns, work });
                    Cause::Passed(message)
                }
                Cause::Passed(message) => {
                    let (from, to, class) = self.ends_of(message);
                    let one = &self.messages[message as usize];
                    let bytes = self.programs.messages[message as usize].0;
                    let work = Work::Flow { from, to, bytes, class };
                    legs.push(Leg { start_ns: one.start_ns, end_ns: one.passed_ns, work });
                    one.ready_cause
                }
            };
        }
        legs.reverse();
        legs
    }

    fn ends_of(&self, message: u32) -> (Rank, Rank, LinkClass) {
        let index = self.link_of(message);
        let link = &self.programs.links[index];
        (link.from, link.to, self.ways[index].slowest)
    }

    fn write_slices(&self, slices: &mut Vec<Slice>) {
        let mut previous = None;
        let mut lane_of_rank = 0;
        for lane in &self.programs.lanes {
            lane_of_rank = if previous.replace(lane.rank) == Some(lane.rank) { lane_of_rank + 1 } else { 0 };
            for step in lane.first..lane.end {
                let Done { start_ns, end_ns, .. } = self.done[step];
                let bytes = self.programs.steps[step].local_bytes;
                if bytes > 0 {
                    let (row, name) = (format!("lane {lane_of_rank}"), "local".to_owned());
                    slices.push(Slice { rank: lane.rank, row, name, start_ns, end_ns, bytes });
                }
            }
        }
        for (number, one) in (0..).zip(&self.messages) {
            let (from, to, class) = self.ends_of(number);
            let bytes = self.programs.messages[number as usize].0;
            let (row, name) = (format!("to rank {to}"), format!("{} to {to}", class.name()));
            slices.push(Slice { rank: from, row, name, start_ns: one.start_ns, end_ns: one.passed_ns, bytes });
        }
    }
}
