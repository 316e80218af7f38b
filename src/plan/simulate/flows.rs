//! Bytes on their way: flows that share resources max-min-fairly.
//!
//! The rate of a flow is the largest that takes nothing from a flow with less: all flows grow alike until a resource is full, those on
//! it stop there, the others grow on (Bertsekas and Gallager, "Data Networks", 6.5.2). Rates are computed anew only for the flows
//! that a change can reach through shared resources, and once for all changes of one moment.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A flow that is under way, by its place in [`Flows`]; places are used again.
pub(super) type FlowId = u32;

#[derive(Default)]
struct Flow {
    resources: Vec<u32>,
    remaining_bytes: f64,
    /// Bytes per nanosecond, since the moment `since_ns`.
    rate: f64,
    since_ns: f64,
    /// Entries of the heap with another version are out of date.
    version: u32,
}

#[derive(PartialEq)]
struct End {
    at_ns: f64,
    flow: FlowId,
    version: u32,
}

impl Eq for End {}
impl PartialOrd for End {
    fn partial_cmp(&self, other: &End) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for End {
    /// The earliest is the greatest; of like ones the lowest flow, so that every run is the same.
    fn cmp(&self, other: &End) -> Ordering {
        other.at_ns.total_cmp(&self.at_ns).then(other.flow.cmp(&self.flow))
    }
}

struct Resource {
    bytes_per_ns: f64,
    flows: Vec<FlowId>,
    passed_bytes: f64,
    /// While rates are computed: what is left, and for how many flows.
    left: f64,
    unfixed: u32,
    /// The computation that last visited it.
    visited: u32,
}

impl Resource {
    fn share(&self) -> f64 {
        self.left / f64::from(self.unfixed)
    }
}

/// All flows, and the resources by dense numbers.
#[derive(Default)]
pub(super) struct Flows {
    resources: Vec<Resource>,
    flows: Vec<Flow>,
    free: Vec<FlowId>,
    ends: BinaryHeap<End>,
    changed: Vec<u32>,
    visit: u32,
    /// Scratch of [`Flows::settle`].
    reached: Vec<u32>,
    members: Vec<FlowId>,
    fixed: Vec<u32>,
}

impl Flows {
    pub(super) fn add_resource(&mut self, bytes_per_s: f64) -> u32 {
        let bytes_per_ns = bytes_per_s / 1e9;
        let resource =
            Resource { bytes_per_ns, flows: Vec::new(), passed_bytes: 0.0, left: 0.0, unfixed: 0, visited: 0 };
        self.resources.push(resource);
        self.resources.len() as u32 - 1
    }

    /// Bytes that a resource has passed.
    pub(super) fn passed_bytes(&self, resource: u32) -> f64 {
        self.resources[resource as usize].passed_bytes
    }

    /// A flow of some bytes begins, which takes as long as if it had `besides` more; its rate is known after [`Flows::settle`].
    pub(super) fn start(&mut self, now_ns: f64, resources: Vec<u32>, bytes: f64, besides: f64) -> FlowId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.flows.push(Flow::default());
            self.fixed.push(0);
            self.flows.len() as FlowId - 1
        });
        for &resource in &resources {
            let one = &mut self.resources[resource as usize];
            one.flows.push(id);
            one.passed_bytes += bytes;
        }
        self.changed.extend(&resources);
        let flow = &mut self.flows[id as usize];
        let version = flow.version.wrapping_add(1);
        *flow = Flow { resources, remaining_bytes: bytes + besides, rate: 0.0, since_ns: now_ns, version };
        if flow.resources.is_empty() {
            self.ends.push(End { at_ns: now_ns, flow: id, version });
        }
        id
    }

    /// When the next flow ends; None while there is none.
    pub(super) fn next_end_ns(&mut self) -> Option<f64> {
        while let Some(end) = self.ends.peek() {
            if self.flows[end.flow as usize].version == end.version {
                return Some(end.at_ns);
            }
            self.ends.pop();
        }
        None
    }

    /// Takes out the flows that end by now. What differs by less than rounding counts as the same moment.
    pub(super) fn end_due(&mut self, now_ns: f64, ended: &mut Vec<FlowId>) {
        let by_ns = now_ns + now_ns.abs() * 1e-12 + 1e-9;
        while self.next_end_ns().is_some_and(|at_ns| at_ns <= by_ns) {
            let id = self.ends.pop().expect("it was just seen").flow;
            let flow = &mut self.flows[id as usize];
            flow.version = flow.version.wrapping_add(1);
            for resource in std::mem::take(&mut flow.resources) {
                let flows = &mut self.resources[resource as usize].flows;
                let place = flows.iter().position(|one| *one == id).expect("a flow is on its resources");
                flows.swap_remove(place);
                self.changed.push(resource);
            }
            self.free.push(id);
            ended.push(id);
        }
    }

    /// Computes rates after changes.
    pub(super) fn settle(&mut self, now_ns: f64) {
        let changed = std::mem::take(&mut self.changed);
        for &start in &changed {
            self.visit_from(start);
            self.share(now_ns);
        }
        self.changed = changed;
        self.changed.clear();
        self.visit = self.visit.wrapping_add(1);
    }

    /// Collects what a change of this resource can reach and no earlier call of this round has reached.
    fn visit_from(&mut self, start: u32) {
        self.reached.clear();
        self.members.clear();
        let round = self.visit.wrapping_add(1);
        if std::mem::replace(&mut self.resources[start as usize].visited, round) == round {
            return;
        }
        self.reached.push(start);
        let mut next = 0;
        while next < self.reached.len() {
            let resource = self.reached[next] as usize;
            next += 1;
            for index in 0..self.resources[resource].flows.len() {
                let id = self.resources[resource].flows[index];
                if std::mem::replace(&mut self.fixed[id as usize], UNFIXED) == UNFIXED {
                    continue;
                }
                self.members.push(id);
                for &other in &self.flows[id as usize].resources {
                    if std::mem::replace(&mut self.resources[other as usize].visited, round) != round {
                        self.reached.push(other);
                    }
                }
            }
        }
    }

    /// Shares the reached resources among the reached flows.
    fn share(&mut self, now_ns: f64) {
        for &index in &self.reached {
            let resource = &mut self.resources[index as usize];
            (resource.left, resource.unfixed) = (resource.bytes_per_ns, resource.flows.len() as u32);
        }
        let (mut unfixed, mut filled) = (self.members.len(), 0.0);
        while unfixed > 0 {
            let open = self.reached.iter().map(|index| &self.resources[*index as usize]).filter(|one| one.unfixed > 0);
            // Shares only grow from round to round; rounding must not make one of them nothing.
            let least = open.map(Resource::share).fold(f64::INFINITY, f64::min).max(filled);
            filled = least;
            // Resources that fill up at the same share are taken together; a symmetric plan so takes one round.
            for index in 0..self.reached.len() {
                let resource = &self.resources[self.reached[index] as usize];
                if resource.unfixed == 0 || resource.share() > least * (1.0 + 1e-9) {
                    continue;
                }
                for place in 0..self.resources[self.reached[index] as usize].flows.len() {
                    let id = self.resources[self.reached[index] as usize].flows[place];
                    if std::mem::replace(&mut self.fixed[id as usize], FIXED) == UNFIXED {
                        unfixed -= 1;
                        self.set_rate(id, least, now_ns);
                    }
                }
            }
        }
    }

    fn set_rate(&mut self, id: FlowId, rate: f64, now_ns: f64) {
        let flow = &mut self.flows[id as usize];
        for &resource in &flow.resources {
            let resource = &mut self.resources[resource as usize];
            resource.left -= rate;
            resource.unfixed -= 1;
        }
        if flow.rate == rate {
            return;
        }
        flow.remaining_bytes = (flow.remaining_bytes - flow.rate * (now_ns - flow.since_ns)).max(0.0);
        (flow.rate, flow.since_ns) = (rate, now_ns);
        flow.version = flow.version.wrapping_add(1);
        let at_ns = now_ns + flow.remaining_bytes / rate;
        self.ends.push(End { at_ns, flow: id, version: flow.version });
    }
}

const FIXED: u32 = 0;
const UNFIXED: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs flows that all start at 0 to their ends, and returns when each ended.
    fn run(rates: &[f64], wanted: &[(&[usize], f64)]) -> Vec<f64> {
        let mut flows = Flows::default();
        let resources: Vec<u32> = rates.iter().map(|rate| flows.add_resource(*rate * 1e9)).collect();
        let ids: Vec<FlowId> = wanted
            .iter()
            .map(|(on, bytes)| flows.start(0.0, on.iter().map(|one| resources[*one]).collect(), *bytes, 0.0))
            .collect();
        let mut ends = vec![f64::NAN; wanted.len()];
        flows.settle(0.0);
        while let Some(now) = flows.next_end_ns() {
            let mut ended = Vec::new();
            flows.end_due(now, &mut ended);
            for id in ended {
                ends[ids.iter().position(|one| *one == id).unwrap()] = now;
            }
            flows.settle(now);
        }
        ends
    }

    #[test]
    fn flows_share_the_tightest_resource_and_take_what_others_leave() {
        // 0 and 1 share a link of 10 until 0, which is bound by 2 elsewhere, leaves 8 to 1.
        assert_eq!(run(&[10.0, 2.0], &[(&[0, 1], 20.0), (&[0], 80.0)]), [10.0, 10.0]);
        // After the short flow ends the long one is alone.
        assert_eq!(run(&[10.0], &[(&[0], 50.0), (&[0], 100.0)]), [10.0, 15.0]);
        // What shares nothing does not wait.
        assert_eq!(run(&[10.0, 5.0], &[(&[0], 50.0), (&[1], 50.0)]), [5.0, 10.0]);
        assert_eq!(run(&[], &[(&[], 50.0)]), [0.0]);
    }

    proptest! {
        /// No resource is overfull, and every flow is on a full resource on which no other flow has more: max-min fairness.
        #[test]
        fn rates_are_max_min_fair(
            rates in prop::collection::vec(1.0f64..100.0, 1..6),
            on in prop::collection::vec(prop::collection::btree_set(0usize..6, 1..4), 1..20),
        ) {
            let mut flows = Flows::default();
            let resources: Vec<u32> = rates.iter().map(|rate| flows.add_resource(*rate * 1e9)).collect();
            let on: Vec<Vec<u32>> = on
                .into_iter()
                .map(|set| {
                    let numbers: std::collections::BTreeSet<_> = set.into_iter().map(|one| one % resources.len()).collect();
                    numbers.into_iter().map(|one| resources[one]).collect()
                })
                .collect();
            let ids: Vec<FlowId> = on.iter().map(|one| flows.start(0.0, one.clone(), 1e6, 0.0)).collect();
            flows.settle(0.0);
            let rate = |id: FlowId| flows.flows[id as usize].rate;
            let load = |resource: u32| (0..ids.len()).filter(|i| on[*i].contains(&resource)).map(|i| rate(ids[i])).sum::<f64>();
            for (index, capacity) in rates.iter().enumerate() {
                prop_assert!(load(resources[index]) <= capacity * (1.0 + 1e-6));
            }
            for (index, id) in ids.iter().enumerate() {
                let fair = on[index].iter().any(|resource| {
                    let full = load(*resource) >= rates[*resource as usize] * (1.0 - 1e-6);
                    full && (0..ids.len()).filter(|i| on[*i].contains(resource)).all(|i| rate(ids[i]) <= rate(*id) * (1.0 + 1e-6))
                });
                prop_assert!(fair, "flow {index} of {on:?} with rates {:?}", ids.iter().map(|id| rate(*id)).collect::<Vec<_>>());
            }
        }
    }
}
