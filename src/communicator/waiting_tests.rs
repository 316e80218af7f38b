use super::*;
use crate::clock::VirtualClock;
use crate::control::{Hub, Outlet};
use crate::types::{Collective, TransportKind};
use std::sync::Arc;

const TIMEOUT: Duration = Duration::from_secs(60);
const PEER: Rank = 1;

/// Rank 0 of two, which waits under a clock of its own.
struct Scene {
    clock: Arc<VirtualClock>,
    hub: Arc<Hub>,
    control: Arc<Control>,
    peer: Option<Arc<Control>>,
    waiting: Waiting,
}

impl Scene {
    fn new() -> Scene {
        let (clock, hub) = (Arc::new(VirtualClock::new()), Hub::new(2));
        let control = |rank: Rank| {
            let transports = (0..2).map(|peer| (peer != rank).then_some(TransportKind::Memory)).collect();
            let clock = Clock::Virtual(clock.clone());
            Control::new(0, rank, vec![0, 1], transports, Outlet::Hub(hub.clone()), clock)
        };
        let (control, peer) = (control(0), control(PEER));
        for rank in [&control, &peer] {
            rank.recorder.enter(1, rank.recorder.register(Collective::Barrier, "barrier".to_owned()), 1, 7);
        }
        let waiting = Waiting::new(TIMEOUT, &control);
        Scene { clock, hub, control, peer: Some(peer), waiting }
    }

    /// Looks around again and again for that long; what it says, and when.
    fn look_for(&mut self, span: Duration, standing: impl Fn() -> Standing) -> Option<(Error, Duration)> {
        let end = self.clock.elapsed() + span;
        while self.clock.elapsed() < end {
            self.clock.advance(Duration::from_millis(5));
            if let Err(error) = self.waiting.look_around(&self.control, 1, &standing) {
                return Some((error, self.clock.elapsed()));
            }
        }
        None
    }
}

fn waits_in_memory() -> Standing {
    Standing { waits_for: vec![PEER], ..Standing::default() }
}

fn waits_on_a_stream() -> Standing {
    Standing { ends_show: vec![PEER], ..waits_in_memory() }
}

#[test]
fn who_left_is_missed_at_once_where_all_it_sent_went_through_memory() {
    let mut scene = Scene::new();
    assert!(scene.look_for(Duration::from_secs(1), waits_in_memory).is_none());
    scene.hub.leave(PEER);
    let (error, when) = scene.look_for(TIMEOUT, waits_in_memory).unwrap();
    assert!(error.is_peer_lost() && error.message().contains("rank 1 has left in good order"), "{error}");
    assert!(when < Duration::from_secs(2), "{when:?}");
}

/// The goodbye takes another way than the data, and may be faster.
#[test]
fn who_left_is_not_missed_while_the_end_of_its_stream_has_not_come() {
    let mut scene = Scene::new();
    scene.hub.leave(PEER);
    let (error, when) = scene.look_for(2 * TIMEOUT, waits_on_a_stream).unwrap();
    assert!(error.is_timeout() && when >= TIMEOUT, "{error} after {when:?}");
}

/// What was in memory when the rank left is found at the second look, if the first was too early.
#[test]
fn what_came_with_the_goodbye_counts() {
    let mut scene = Scene::new();
    let hub = scene.hub.clone();
    let standing = move || match hub.has_left(PEER) {
        true => Standing::default(),
        false => {
            hub.leave(PEER);
            waits_in_memory()
        }
    };
    assert!(scene.look_for(Duration::from_secs(1), standing).is_none());
}

#[test]
fn a_connection_of_who_left_has_a_moment_to_be_known() {
    let mut scene = Scene::new();
    scene.hub.leave(PEER);
    let (error, when) = scene.look_for(TIMEOUT, || Standing::connecting(PEER)).unwrap();
    assert!(error.is_peer_lost() && (ARRIVAL..2 * ARRIVAL).contains(&when), "{error} after {when:?}");
}

#[test]
fn a_rank_that_is_behind_is_named_and_one_that_is_gone_without_a_word_too() {
    let mut scene = Scene::new();
    scene.control.recorder.enter(2, 0, 1, 8);
    let behind = |scene: &mut Scene| {
        scene.clock.advance(TIMEOUT);
        scene.waiting.look_around(&scene.control, 2, waits_in_memory).unwrap_err()
    };
    let error = behind(&mut scene);
    assert!(error.is_timeout() && error.message().contains("rank 1 did not enter it"), "{error}");
    scene.peer = None;
    let error = behind(&mut scene);
    assert!(error.is_timeout() && error.message().contains("rank 1 did not answer"), "{error}");
}
