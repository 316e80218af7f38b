use super::super::graph::neighbours;
use super::*;
use std::collections::HashSet;
use std::time::Duration;

const TOPIC: u64 = 7;

/// Ranks that hear each other's frames in turns, as their neighbours; some are stopped.
struct Graph {
    surveys: Vec<Surveys>,
    stopped: Vec<Rank>,
    now: Instant,
    writes: usize,
}

impl Graph {
    fn new(size: usize, stopped: &[Rank]) -> Graph {
        let surveys = (0..size).map(|_| Surveys::default()).collect();
        Graph { surveys, stopped: stopped.to_vec(), now: Instant::now(), writes: 0 }
    }

    fn size(&self) -> usize {
        self.surveys.len()
    }

    fn runs(&self, rank: Rank) -> bool {
        !self.stopped.contains(&rank)
    }

    fn ask(&mut self, rank: Rank, sequence: u64) -> u64 {
        let fresh_from = self.now - Duration::from_millis(10);
        self.surveys[rank].ask(TOPIC, sequence, (rank, &answer(rank)), fresh_from, self.now)
    }

    /// Turns until nobody has anything to tell.
    fn settle(&mut self) {
        loop {
            let mut told = Vec::new();
            let running: Vec<Rank> = (0..self.size()).filter(|rank| self.runs(*rank)).collect();
            for &rank in &running {
                let near = neighbours(rank, self.size());
                told.extend(self.surveys[rank].tell(&near).into_iter().map(|(to, answers)| (rank, to, answers)));
            }
            if told.is_empty() {
                return;
            }
            // What goes to one neighbour at once is one write.
            self.writes += told.iter().map(|(from, to, _)| (*from, *to)).collect::<HashSet<_>>().len();
            self.now += Duration::from_millis(1);
            for (from, to, answers) in told.into_iter().filter(|(_, to, _)| running.contains(to)) {
                let question = answers.question;
                if let News::Question(_) = self.surveys[to].take_in(from, answers, self.now) {
                    let own = Answers { topic: TOPIC, question, answer: answer(to).into(), ranks: RankSet::of(to) };
                    self.surveys[to].take_in(to, own, self.now);
                }
            }
        }
    }

    /// Who answered what in the round, as a rank knows it.
    fn known_at(&self, rank: Rank, round: u64) -> Vec<(Rank, Vec<u8>)> {
        let survey = &self.surveys[rank].by_topic[&TOPIC];
        assert_eq!(survey.question.round, round);
        let mut known: Vec<_> =
            survey.groups.iter().flat_map(|(answer, ranks)| ranks.iter().map(|rank| (rank, answer.to_vec()))).collect();
        known.sort();
        known
    }

    fn assert_all_know_all(&self, round: u64) {
        let everyone: Vec<_> =
            (0..self.size()).filter(|rank| self.runs(*rank)).map(|rank| (rank, answer(rank))).collect();
        for rank in (0..self.size()).filter(|rank| self.runs(*rank)) {
            assert_eq!(self.known_at(rank, round), everyone, "at {rank}");
        }
    }
}

/// All say the same but a few.
fn answer(rank: Rank) -> Vec<u8> {
    if rank % 40 == 3 { format!("rank {rank} is elsewhere").into_bytes() } else { b"in call 9".to_vec() }
}

#[test]
fn everyone_learns_everything_though_some_are_stopped() {
    for size in [2, 3, 8, 13, 64, 200] {
        for stopped in [vec![], vec![size - 1], (0..size / 8).map(|index| index * 7 % size).collect()] {
            let mut graph = Graph::new(size, &stopped);
            let asker = (0..size).find(|rank| graph.runs(*rank)).expect("most run");
            let round = graph.ask(asker, 9);
            graph.settle();
            graph.assert_all_know_all(round);
        }
    }
}

/// The price is per rank and neighbour, not per pair of ranks, and the same however many ask.
#[test]
fn all_asking_at_once_cost_as_much_as_one() {
    for size in [64, 200, 1000] {
        for askers in [1, size] {
            let mut graph = Graph::new(size, &[size / 2]);
            let rounds: Vec<u64> =
                (0..askers).filter(|rank| *rank != size / 2).map(|rank| graph.ask(rank, 9)).collect();
            assert!(rounds.iter().all(|round| *round == 1));
            graph.settle();
            graph.assert_all_know_all(1);
            let per_rank = graph.writes as f64 / size as f64;
            let degree = neighbours(0, size).len() as f64;
            println!("{size} ranks, {askers} ask: {per_rank:.0} writes per rank with {degree} neighbours");
            assert!(per_rank < 10.0 * degree, "{per_rank} writes per rank");
        }
    }
}

#[test]
fn a_question_is_asked_again_only_when_it_is_old() {
    let mut graph = Graph::new(5, &[]);
    assert_eq!(graph.ask(0, 9), 1);
    graph.settle();
    assert_eq!(graph.ask(3, 9), 1, "heard of a moment ago");
    assert_eq!(graph.ask(3, 12), 1, "one about an earlier call serves too");
    graph.now += Duration::from_secs(1);
    assert_eq!(graph.ask(3, 9), 2);
    graph.settle();
    graph.assert_all_know_all(2);
    assert_eq!(graph.ask(1, 8), 2, "about an earlier call, in the same round");
    graph.settle();
    graph.assert_all_know_all(2);
    assert!(graph.surveys.iter().all(|one| one.by_topic[&TOPIC].question.sequence == 8));
}

#[test]
fn what_comes_late_of_an_older_round_is_nothing() {
    let mut surveys = Surveys::default();
    let now = Instant::now();
    let answers = |round, sequence, rank| {
        let question = Question { round, sequence };
        Answers { topic: TOPIC, question, answer: b"x"[..].into(), ranks: RankSet::of(rank) }
    };
    assert_eq!(surveys.take_in(1, answers(4, 9, 1), now), News::Question(RankSet::of(1)));
    assert_eq!(surveys.take_in(2, answers(3, 9, 2), now), News::Nothing);
    assert_eq!(surveys.take_in(2, answers(4, 10, 2), now), News::Nothing);
    assert_eq!(surveys.take_in(2, answers(4, 9, 1), now), News::Nothing, "known already");
    assert_eq!(surveys.take_in(2, answers(4, 9, 2), now), News::From(RankSet::of(2)));
    assert!(surveys.tell(&[2]).is_empty(), "rank 2 told all of it itself");
}

#[test]
fn a_neighbour_that_was_left_out_gets_all_of_it_later() {
    let mut surveys = Surveys::default();
    let now = Instant::now();
    surveys.ask(TOPIC, 1, (0, b"a"), now, now);
    assert_eq!(surveys.tell(&[1]).len(), 1);
    assert!(!surveys.is_dirty() && surveys.tell(&[1, 2]).is_empty());
    surveys.catch_up();
    let told = surveys.tell(&[1, 2]);
    assert_eq!(told.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [2]);
}

#[test]
fn topics_are_bounded() {
    let mut surveys = Surveys::default();
    let now = Instant::now();
    for topic in 0..2 * MAX_TOPICS as u64 {
        surveys.ask(topic, 1, (0, b"a"), now, now + Duration::from_micros(topic));
    }
    assert!(surveys.by_topic.len() == MAX_TOPICS && surveys.by_topic.contains_key(&(2 * MAX_TOPICS as u64 - 1)));
}
