//! The largest flow from one node to another, and the cut that limits it (Dinic's algorithm, whole numbers).

/// More than any sum of capacities.
pub const UNLIMITED: i128 = i128::MAX / 4;

/// A directed graph with capacities, on which one flow at a time runs.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Arcs that start at each node, by their numbers; arc `a ^ 1` is the way back of arc `a`.
    arcs_of: Vec<Vec<usize>>,
    head: Vec<usize>,
    left: Vec<i128>,
}

impl Flow {
    pub fn new(nodes: usize) -> Flow {
        Flow { arcs_of: vec![Vec::new(); nodes], head: Vec::new(), left: Vec::new() }
    }

    pub fn add(&mut self, from: usize, to: usize, capacity: i128) {
        for (start, end, capacity) in [(from, to, capacity), (to, from, 0)] {
            self.arcs_of[start].push(self.head.len());
            self.head.push(end);
            self.left.push(capacity);
        }
    }

    /// Sends as much as goes, at most `most`, and returns it.
    pub fn send(&mut self, source: usize, sink: usize, most: i128) -> i128 {
        let mut sent = 0;
        while sent < most {
            let levels = self.levels(source);
            if levels[sink] == usize::MAX {
                break;
            }
            let mut next = vec![0; self.arcs_of.len()];
            while sent < most {
                let pushed = self.push_one(source, sink, most - sent, &levels, &mut next);
                if pushed == 0 {
                    break;
                }
                sent += pushed;
            }
        }
        sent
    }

    /// After a flow: which nodes the source still reaches. The arcs out of them are the smallest cut.
    pub fn reached(&self, source: usize) -> Vec<bool> {
        self.levels(source).into_iter().map(|level| level != usize::MAX).collect()
    }

    fn levels(&self, source: usize) -> Vec<usize> {
        let mut levels = vec![usize::MAX; self.arcs_of.len()];
        levels[source] = 0;
        let mut row = vec![source];
        while !row.is_empty() {
            let mut following = Vec::new();
            for node in row {
                for &arc in &self.arcs_of[node] {
                    if self.left[arc] > 0 && levels[self.head[arc]] == usize::MAX {
                        levels[self.head[arc]] = levels[node] + 1;
                        following.push(self.head[arc]);
                    }
                }
            }
            row = following;
        }
        levels
    }

    /// Sends along one shortest path; `next` remembers which arcs of a node lead nowhere any more.
    fn push_one(&mut self, source: usize, sink: usize, most: i128, levels: &[usize], next: &mut [usize]) -> i128 {
        let mut path: Vec<usize> = Vec::new();
        let mut node = source;
        while node != sink {
            let usable = self.arcs_of[node][next[node]..]
                .iter()
                .position(|arc| self.left[*arc] > 0 && levels[self.head[*arc]] == levels[node] + 1);
            match usable {
                Some(skipped) => {
                    next[node] += skipped;
                    let arc = self.arcs_of[node][next[node]];
                    path.push(arc);
                    node = self.head[arc];
                }
                None => {
                    next[node] = self.arcs_of[node].len();
                    let Some(arc) = path.pop() else { return 0 };
                    node = self.head[arc ^ 1];
                    next[node] += 1;
                }
            }
        }
        let pushed = path.iter().map(|arc| self.left[*arc]).min().unwrap_or(0).min(most);
        for arc in path {
            self.left[arc] -= pushed;
            self.left[arc ^ 1] += pushed;
        }
        pushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_textbook_network() {
        let mut flow = Flow::new(6);
        for (from, to, capacity) in [
            (0, 1, 16),
            (0, 2, 13),
            (1, 2, 10),
            (2, 1, 4),
            (1, 3, 12),
            (3, 2, 9),
            (2, 4, 14),
            (4, 3, 7),
            (3, 5, 20),
            (4, 5, 4),
        ] {
            flow.add(from, to, capacity);
        }
        assert_eq!(flow.send(0, 5, UNLIMITED), 23);
        assert_eq!(flow.reached(0), [true, true, true, false, true, false]);
    }

    proptest! {
        #[test]
        fn the_flow_is_the_smallest_of_all_cuts(
            arcs in proptest::collection::vec((0usize..6, 0usize..6, 0i128..20), 0..20),
        ) {
            let mut flow = Flow::new(6);
            for &(from, to, capacity) in arcs.iter().filter(|(from, to, _)| from != to) {
                flow.add(from, to, capacity);
            }
            let within = |cut: u32, node: usize| node == 0 || (node != 5 && cut >> (node - 1) & 1 == 1);
            let value = |cut: u32| {
                let leaving = arcs.iter().filter(|(from, to, _)| within(cut, *from) && !within(cut, *to));
                leaving.map(|(_, _, capacity)| capacity).sum::<i128>()
            };
            let smallest = (0..16).map(value).min().unwrap();
            prop_assert_eq!(flow.send(0, 5, UNLIMITED), smallest);
            let reached = flow.reached(0);
            let leaving = arcs.iter().filter(|(from, to, _)| reached[*from] && !reached[*to]);
            prop_assert_eq!(leaving.map(|(_, _, capacity)| capacity).sum::<i128>(), smallest);
        }
    }
}
