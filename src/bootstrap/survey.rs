//! Questions to all ranks, and their answers, gathered on the way: pure bookkeeping, no clock, no socket.
//!
//! A question is on a topic. Whoever hears of it answers, and hands every neighbour what that neighbour does not know yet:
//! equal answers as one, with the set of ranks that gave them. So all ranks soon know all answers, whatever stopped or died on
//! the way, and it costs each rank a few frames per neighbour, however many ranks ask. Ranks that want to know the same at about
//! the same time ask the same question: its number is one more than the last that they heard of.

use super::ranks::RankSet;
use crate::types::Rank;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Topics that are remembered; the one that was asked about longest ago makes room.
const MAX_TOPICS: usize = 1024;

/// Which of the questions on a topic. A higher round goes before a lower, and in a round a lower sequence before a higher: ranks
/// that stand at different calls ask about the earliest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub round: u64,
    pub sequence: u64,
}

impl Question {
    fn priority(self) -> (u64, Reverse<u64>) {
        (self.round, Reverse(self.sequence))
    }
}

/// An answer, and who gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answers {
    pub topic: u64,
    pub question: Question,
    pub answer: Arc<[u8]>,
    pub ranks: RankSet,
}

/// What is new in answers that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    /// These ranks' answers.
    From(RankSet),
    /// As `From`, and the question itself: this rank has to answer too.
    Question(RankSet),
}

struct Survey {
    question: Question,
    /// When this rank first heard of the round.
    since: Instant,
    groups: Vec<(Arc<[u8]>, RankSet)>,
    /// Of each neighbour, the ranks whose answers it has for sure.
    known: Vec<(Rank, RankSet)>,
    /// Some neighbour may lack something.
    dirty: bool,
}

#[derive(Default)]
pub(super) struct Surveys {
    by_topic: HashMap<u64, Survey>,
}

impl Surveys {
    /// Asks, with the own answer, unless a question that serves was heard of at `fresh_from` or later. Returns the round.
    pub fn ask(&mut self, topic: u64, sequence: u64, own: (Rank, &[u8]), fresh_from: Instant, now: Instant) -> u64 {
        let last = self.by_topic.get(&topic).map(|survey| (survey.question, survey.since));
        let round = match last {
            Some((question, since)) if since >= fresh_from => {
                if question.sequence <= sequence {
                    return question.round;
                }
                question.round
            }
            Some((question, _)) => question.round + 1,
            None => 1,
        };
        let question = Question { round, sequence };
        let ranks = RankSet::of(own.0);
        self.take_in(own.0, Answers { topic, question, answer: own.1.into(), ranks }, now);
        round
    }

    /// Takes in what came from a neighbour, or from this rank itself.
    pub fn take_in(&mut self, from: Rank, answers: Answers, now: Instant) -> News {
        let Answers { topic, question, answer, ranks } = answers;
        let last = self.by_topic.get(&topic).map(|survey| (survey.question, survey.since));
        let is_new = last.is_none_or(|(last, _)| question.priority() > last.priority());
        if is_new {
            let since = last.filter(|(last, _)| last.round == question.round).map_or(now, |(_, since)| since);
            self.make_room(topic);
            let survey = Survey { question, since, groups: Vec::new(), known: Vec::new(), dirty: true };
            self.by_topic.insert(topic, survey);
        }
        let survey = self.by_topic.get_mut(&topic).expect("it is there or was just made");
        if survey.question != question {
            return News::Nothing;
        }
        let news = survey.groups.iter().fold(ranks.clone(), |news, (_, known)| news.minus(known));
        survey.note_known(from, &ranks);
        if !news.is_empty() {
            survey.dirty = true;
            match survey.groups.iter_mut().find(|(known, _)| *known == answer) {
                Some((_, ranks)) => ranks.add(&news),
                None => survey.groups.push((answer, news.clone())),
            }
        }
        match (is_new, news.is_empty()) {
            (true, _) => News::Question(news),
            (false, false) => News::From(news),
            (false, true) => News::Nothing,
        }
    }

    fn make_room(&mut self, topic: u64) {
        if self.by_topic.len() >= MAX_TOPICS && !self.by_topic.contains_key(&topic) {
            let oldest = self.by_topic.iter().min_by_key(|(_, survey)| survey.since).map(|(topic, _)| *topic);
            self.by_topic.remove(&oldest.expect("there are many"));
        }
    }

    pub fn is_dirty(&self) -> bool {
        self.by_topic.values().any(|survey| survey.dirty)
    }

    /// What each of these neighbours does not know yet; from now on it does.
    pub fn tell(&mut self, neighbours: &[Rank]) -> Vec<(Rank, Answers)> {
        let mut told = Vec::new();
        for (topic, survey) in self.by_topic.iter_mut().filter(|(_, survey)| survey.dirty) {
            survey.dirty = false;
            for &neighbour in neighbours {
                for (answer, ranks) in survey.news_for(neighbour) {
                    told.push((neighbour, Answers { topic: *topic, question: survey.question, answer, ranks }));
                }
            }
        }
        told
    }

    /// That neighbour was left out for a while.
    pub fn catch_up(&mut self) {
        self.by_topic.values_mut().for_each(|survey| survey.dirty = true);
    }
}

impl Survey {
    fn known_by(&mut self, neighbour: Rank) -> &mut RankSet {
        let index = self.known.iter().position(|(rank, _)| *rank == neighbour).unwrap_or_else(|| {
            self.known.push((neighbour, RankSet::default()));
            self.known.len() - 1
        });
        &mut self.known[index].1
    }

    fn note_known(&mut self, neighbour: Rank, ranks: &RankSet) {
        self.known_by(neighbour).add(ranks);
    }

    fn news_for(&mut self, neighbour: Rank) -> Vec<(Arc<[u8]>, RankSet)> {
        let known = self.known_by(neighbour).clone();
        let news = |(answer, ranks): &(Arc<[u8]>, RankSet)| (answer.clone(), ranks.minus(&known));
        let news: Vec<_> = self.groups.iter().map(news).filter(|(_, ranks)| !ranks.is_empty()).collect();
        news.iter().for_each(|(_, ranks)| self.note_known(neighbour, ranks));
        news
    }
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
