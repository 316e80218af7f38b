//! The mesh's thread: it alone touches the links and the door.

use super::door::Door;
use super::link::{Ended, Frame, Link};
use super::mesh::{Command, FAREWELL, Fate, LAST_WORDS, Parked, Purpose, Shared};
use super::message::{Control, Request};
use super::ranks::RankSet;
use super::socket::{Stream, Watch, wait};
use super::survey::{Answers, News};
use super::wire::Malformed;
use crate::types::Rank;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections that wait for this rank to ask for them.
const MAX_PARKED: usize = 4096;
/// Announcements whose topics are remembered: an older one that comes again goes around again.
const MAX_ANNOUNCED: usize = 4096;
/// Answers are collected for so long before they are passed on, but for the first after a while.
const COLLECT: Duration = Duration::from_millis(5);

pub(super) struct Worker {
    rank: Rank,
    size: usize,
    shared: Arc<Shared>,
    ear: UnixStream,
    door: Door,
    links: Vec<Link>,
    /// Topics of the last announcements, oldest first.
    announced: VecDeque<u64>,
    /// Ranks that ended, from whom this rank knows it, and how; the neighbours are told at the end of the turn.
    news: Vec<(Rank, Rank, Fate)>,
    /// When answers were last passed on.
    told: Instant,
    /// Since when this rank is leaving.
    leaving: Option<Instant>,
    /// What was last made known of [`Door::is_starved`].
    starved: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.mailbox.close();
        self.shared.change(|state| {
            state.ended = true;
            state.parked.clear();
        });
    }
}

impl Worker {
    /// `ear` is readable when commands wait.
    pub fn new(rank: Rank, size: usize, shared: Arc<Shared>, ear: UnixStream, door: Door) -> Worker {
        Worker {
            rank,
            size,
            shared,
            ear,
            door,
            links: Vec::new(),
            announced: VecDeque::new(),
            news: Vec::new(),
            told: Instant::now(),
            leaving: None,
            starved: false,
        }
    }

    /// Serves until this rank leaves.
    pub fn run(mut self) {
        while self.obey() && !self.is_done() {
            if let Err(error) = self.turn() {
                tracing::error!(rank = self.rank, "the control thread ends: {error}");
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.leaves_by().is_some_and(|by| self.links.is_empty() || Instant::now() >= by)
    }

    /// When this rank leaves, whether its neighbours have ended their connections or not.
    fn leaves_by(&self) -> Option<Instant> {
        let has_said_all = self.links.iter().all(Link::is_finished);
        self.leaving.map(|since| since + if has_said_all { FAREWELL } else { LAST_WORDS })
    }

    /// Carries out what callers asked for; false if it is to end at once.
    fn obey(&mut self) -> bool {
        let commands = {
            let mut state = self.shared.state();
            state.command_bytes = 0;
            std::mem::take(&mut state.commands)
        };
        for command in commands {
            match command {
                Command::Attach(rank, stream) => self.attach(rank, stream),
                Command::Send(rank, frame) => {
                    self.links.iter_mut().filter(|link| link.rank == rank).for_each(|link| link.queue(frame.clone()))
                }
                Command::Announce(topic, frame) => {
                    if self.is_first_word(topic) {
                        self.pass_on(&frame, self.rank);
                    }
                }
                Command::Leave(last_words) => {
                    if self.leaving.is_none() {
                        self.leaving = Some(Instant::now());
                        self.links.iter_mut().for_each(|link| link.queue(last_words.clone()));
                    }
                }
                #[cfg(test)]
                Command::Die => return false,
            }
        }
        true
    }

    fn attach(&mut self, rank: Rank, stream: Stream) {
        if let Err(error) = stream.keep_alive() {
            tracing::debug!(rank = self.rank, peer = rank, "no keep-alive on the control connection: {error}");
        }
        self.links.push(Link::new(rank, stream));
        self.shared.change(|state| state.linked.push(rank));
    }

    /// Sends, sleeps until something happens, and takes it in.
    fn turn(&mut self) -> io::Result<()> {
        self.tell_news();
        let tells_at = self.tell_answers(Instant::now());
        self.each_link(|link| link.flush());
        if self.leaving.is_some() {
            self.links.iter_mut().for_each(Link::finish);
        }
        let mut watches = vec![Watch::readable(self.ear.as_fd())];
        watches.extend(self.links.iter().map(Link::watch));
        let links = self.links.len();
        self.door.watch(&mut watches);
        wait(&mut watches, self.door.wakes_at().into_iter().chain(self.leaves_by()).chain(tells_at).min())?;
        if watches[0].is_ready() {
            // One read is enough: what is left rings again.
            let _ = self.ear.read(&mut [0; 512]);
        }
        let ready: Vec<Rank> = self
            .links
            .iter()
            .zip(&watches[1..])
            .filter(|(_, watch)| watch.is_ready())
            .map(|(link, _)| link.rank)
            .collect();
        for rank in ready {
            self.listen_to(rank);
        }
        let arrived = self
            .door
            .serve(&watches[1 + links..], Instant::now())
            .map_err(|error| io::Error::other(error.to_string()))?;
        for (stream, request) in arrived {
            self.receive(stream, request);
        }
        if self.starved != self.door.is_starved() {
            self.starved = self.door.is_starved();
            self.shared.change(|state| state.starved = self.starved);
        }
        Ok(())
    }

    fn each_link(&mut self, mut act: impl FnMut(&mut Link) -> Result<(), Ended>) {
        let mut ended = Vec::new();
        self.links.retain_mut(|link| match act(link) {
            Ok(()) => true,
            Err(reason) => {
                ended.push((link.rank, reason));
                false
            }
        });
        for (rank, reason) in ended {
            self.part_from(rank, reason);
        }
    }

    fn listen_to(&mut self, rank: Rank) {
        // Found anew for every frame: taking one in may end links.
        while let Some(index) = self.links.iter().position(|link| link.rank == rank) {
            let received = self.links[index].receive().and_then(|body| match body {
                Some(body) => self.take_in(rank, &body).map(|()| true).map_err(Ended::from),
                None => Ok(false),
            });
            match received {
                Ok(true) => {}
                Ok(false) => return,
                Err(reason) => {
                    self.links.swap_remove(index);
                    self.part_from(rank, reason);
                }
            }
        }
    }

    /// The link to that rank is over. After a goodbye, its or ours, that is as it should be.
    fn part_from(&mut self, rank: Rank, reason: Ended) {
        if self.leaving.is_none() {
            self.learn(rank, Fate::Lost(reason.to_string()), rank);
        }
    }

    fn take_in(&mut self, from: Rank, body: &[u8]) -> Result<(), Malformed> {
        let control = Control::decode(body)?;
        match control {
            Control::Card(card) if card.rank < self.size => {
                let rank = card.rank;
                self.shared.change(|state| {
                    state.cards[rank].get_or_insert(card);
                });
            }
            Control::Announced { topic, origin, word } if origin < self.size => {
                if origin != self.rank && self.is_first_word(topic) {
                    self.pass_on(&Control::Announced { topic, origin, word }.encode().into(), from);
                    self.shared.mailbox.announced(origin, topic, word);
                }
            }
            Control::Answered(answers) if answers.ranks.fits(self.size) => self.take_in_answers(from, answers),
            Control::Lost { ranks, how } if ranks.fits(self.size) => {
                ranks.iter().for_each(|rank| self.learn(rank, Fate::Lost(how.clone()), from))
            }
            Control::Left { ranks } if ranks.fits(self.size) => {
                ranks.iter().for_each(|rank| self.learn(rank, Fate::Left, from))
            }
            Control::Card(_)
            | Control::Announced { .. }
            | Control::Answered(_)
            | Control::Lost { .. }
            | Control::Left { .. } => return Err(Malformed),
        }
        Ok(())
    }

    /// Takes in that a rank is gone, the first time, and tells the neighbours.
    fn learn(&mut self, rank: Rank, fate: Fate, from: Rank) {
        if rank == self.rank {
            // Someone lost sight of this rank; what the others make of it they say in their own words.
            return;
        }
        let is_news = self.shared.change(|state| {
            let is_news = state.fates[rank] == Fate::Present;
            if is_news {
                state.fates[rank] = fate.clone();
            }
            is_news
        });
        if !is_news {
            return;
        }
        match &fate {
            Fate::Present => unreachable!("nobody comes back"),
            Fate::Left => self.shared.mailbox.left(rank),
            Fate::Lost(how) => self.shared.mailbox.lost(rank, how.clone()),
        }
        self.news.push((rank, from, fate));
    }

    /// Tells the neighbours who ended, those that ended alike in one frame. It goes out whatever is queued.
    fn tell_news(&mut self) {
        let news = std::mem::take(&mut self.news);
        for link in &mut self.links {
            let mut untold: Vec<_> = news.iter().filter(|(_, from, _)| *from != link.rank).collect();
            while let Some((_, _, fate)) = untold.first().copied() {
                let alike = untold.extract_if(.., |(_, _, other)| other == fate);
                let ranks: RankSet = alike.map(|(rank, ..)| *rank).collect();
                link.queue(last_words(ranks, fate).encode().into());
            }
        }
    }

    /// Passes answers on, or returns when it is time to.
    fn tell_answers(&mut self, now: Instant) -> Option<Instant> {
        let mut state = self.shared.state();
        // Whoever was left out reads again.
        for link in self.links.iter_mut().filter(|link| link.left_out && link.keeps_up()) {
            link.left_out = false;
            state.surveys.catch_up();
        }
        if !state.surveys.is_dirty() {
            return None;
        }
        if now < self.told + COLLECT {
            return Some(self.told + COLLECT);
        }
        self.told = now;
        let (ready, slow): (Vec<&mut Link>, Vec<_>) = self.links.iter_mut().partition(|link| link.keeps_up());
        slow.into_iter().for_each(|link| link.left_out = true);
        let ranks: Vec<Rank> = ready.iter().map(|link| link.rank).collect();
        let told = state.surveys.tell(&ranks);
        drop(state);
        for (rank, answers) in told {
            let frame = Control::Answered(answers).encode().into();
            self.links.iter_mut().filter(|link| link.rank == rank).for_each(|link| link.queue(Frame::clone(&frame)));
        }
        None
    }

    fn take_in_answers(&mut self, from: Rank, answers: Answers) {
        let Answers { topic, question, answer, .. } = answers.clone();
        let news = self.shared.state().surveys.take_in(from, answers, Instant::now());
        let ranks = match news {
            News::Nothing => return,
            News::From(ranks) => ranks,
            News::Question(ranks) => {
                let answer = self.shared.mailbox.asked(topic, question.sequence).into();
                let own = Answers { topic, question, answer, ranks: RankSet::of(self.rank) };
                self.shared.state().surveys.take_in(self.rank, own, Instant::now());
                ranks
            }
        };
        self.shared.mailbox.answered(topic, question.round, &answer, &ranks);
    }

    /// Whether nothing was announced on this topic before, as far as it is remembered.
    fn is_first_word(&mut self, topic: u64) -> bool {
        if self.announced.contains(&topic) {
            return false;
        }
        if self.announced.len() == MAX_ANNOUNCED {
            self.announced.pop_front();
        }
        self.announced.push_back(topic);
        true
    }

    fn pass_on(&mut self, frame: &Frame, except: Rank) {
        for link in self.links.iter_mut().filter(|link| link.rank != except) {
            if link.has_room() {
                link.queue(frame.clone());
            } else {
                tracing::warn!(rank = self.rank, peer = link.rank, "announcement dropped: the rank does not read");
            }
        }
    }

    /// Someone of the job came through the door.
    fn receive(&mut self, stream: Stream, request: Request) {
        let is_over_tcp = matches!(stream, Stream::Tcp(_));
        match request {
            Request::Link { rank } if is_over_tcp && rank < self.rank => {
                if self.links.iter().all(|link| link.rank != rank) {
                    self.attach(rank, stream);
                }
            }
            Request::Stream { rank, tag } if is_over_tcp && rank < self.rank => {
                self.park(Parked { purpose: Purpose::Stream, rank, tag, stream });
            }
            Request::Handle { rank, tag } if !is_over_tcp && rank < self.size => {
                self.park(Parked { purpose: Purpose::Handle, rank, tag, stream });
            }
            Request::Join(_) | Request::Link { .. } | Request::Stream { .. } | Request::Handle { .. } => {
                tracing::debug!(rank = self.rank, "a request that does not belong here was turned away");
            }
        }
    }

    /// Keeps a connection until it is asked for; a second of the same tag takes the place of the first, whose dialer gave up.
    fn park(&self, parked: Parked) {
        self.shared.change(|state| {
            let is_same =
                |other: &Parked| (other.purpose, other.rank, other.tag) == (parked.purpose, parked.rank, parked.tag);
            state.parked.retain(|other| !is_same(other));
            if state.parked.len() < MAX_PARKED && !state.refused.contains(&parked.family()) {
                state.parked.push(parked);
            }
        });
    }
}

fn last_words(ranks: RankSet, fate: &Fate) -> Control<'static> {
    match fate {
        Fate::Present => unreachable!("that is no news"),
        Fate::Left => Control::Left { ranks },
        Fate::Lost(how) => Control::Lost { ranks, how: how.clone() },
    }
}
