//! How each link of a plan passes the machine: its route, with every resource known to the flows.

use super::Failed;
use super::flows::Flows;
use super::fold::Fold;
use super::programs::Link;
use crate::topology::{LinkClass, ResourceId, Topology};
use std::collections::HashMap;

/// A route with its resources by the numbers of [`Flows`].
pub(super) struct Way {
    pub(super) latency_ns: f64,
    /// What a message takes of the way besides the time of its bytes, which is a part of the latency of a lone one, and as so many bytes.
    pub(super) gap_ns: f64,
    pub(super) gap_bytes: f64,
    /// On the sender's side and on the receiver's.
    pub(super) outgoing: Vec<u32>,
    pub(super) incoming: Vec<u32>,
    pub(super) slowest: LinkClass,
    /// Stays where a switch could fold or copy it.
    pub(super) in_domain: bool,
}

/// What stands behind a number of [`Flows`].
pub(super) struct Used {
    pub(super) id: ResourceId,
    /// The flows for which one simulated flow on it stands.
    pub(super) sharers: usize,
}

/// The ways of all links, and the resources that they use. What never fills up is left out.
pub(super) fn lay(
    links: &[Link],
    topology: &Topology,
    fold: Option<&Fold>,
    flows: &mut Flows,
) -> Result<(Vec<Way>, Vec<Used>), Failed> {
    let mut numbers: HashMap<ResourceId, u32> = HashMap::new();
    let mut shared = HashMap::new();
    let mut used: Vec<Used> = Vec::new();
    let mut ways = Vec::with_capacity(links.len());
    for &Link { from, to, .. } in links {
        let route = match fold {
            Some(fold) => fold.route(topology, (from, to)),
            None => topology.route(from, to),
        };
        let route = route.ok_or(Failed::NoRoute { from, to })?;
        let mut number = |id: &ResourceId| {
            let resource = topology.resource(*id);
            let rate = resource.bytes_per_s * topology.reached.of(resource.class);
            rate.is_finite().then(|| {
                *numbers.entry(*id).or_insert_with(|| {
                    let sharers = fold.map_or(1, |fold| fold.sharers(topology, (from, to), *id, &mut shared));
                    used.push(Used { id: *id, sharers });
                    flows.add_resource(rate / sharers as f64)
                })
            })
        };
        let (outgoing, incoming) = route.resources.split_at(route.outgoing);
        let [outgoing, incoming] =
            [outgoing, incoming].map(|side| side.iter().filter_map(&mut number).collect::<Vec<u32>>());
        let resources = route.resources.iter().map(|id| topology.resource(*id));
        let rates = resources.clone().map(|one| one.bytes_per_s * topology.reached.of(one.class));
        let slowest_bytes_per_s = rates.fold(f64::INFINITY, f64::min);
        let gap_ns = if slowest_bytes_per_s.is_finite() { topology.gaps.of(route.crosses) } else { 0.0 };
        let gap_bytes = if gap_ns > 0.0 { gap_ns / 1e9 * slowest_bytes_per_s } else { 0.0 };
        let slowest = resources.min_by(|a, b| a.bytes_per_s.total_cmp(&b.bytes_per_s));
        ways.push(Way {
            latency_ns: route.latency_ns,
            gap_ns,
            gap_bytes,
            outgoing,
            incoming,
            slowest: slowest.map_or(LinkClass::Host, |one| one.class),
            in_domain: !route.crosses,
        });
    }
    Ok((ways, used))
}
