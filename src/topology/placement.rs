//! In which order the ranks of a job are laid over the domains of a machine.

use super::{Layout, Topology};
use crate::types::{Rank, UnknownName};

/// An order of ranks, as a launcher makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Domain after domain: consecutive ranks share one. Launchers call it `block`.
    #[default]
    Blocked,
    /// Rank after rank to the next domain that has room, round and round. Launchers call it `cyclic` or `round robin`.
    Interleaved,
    /// The domain of each rank, numbered as the machine numbers them.
    Listed(Vec<u32>),
}

impl Placement {
    pub fn name(&self) -> &'static str {
        match self {
            Placement::Blocked => "blocked",
            Placement::Interleaved => "interleaved",
            Placement::Listed(_) => "listed",
        }
    }

    /// The layout of a machine's ranks in this order.
    ///
    /// # Errors
    /// Of a list that does not give every GPU of every domain one rank: what is wrong with it, in one clause.
    pub fn layout(&self, topology: &Topology) -> Result<Layout, String> {
        let (blocked, ranks) = (topology.layout(), topology.gpus());
        match self {
            Placement::Blocked => Ok(blocked),
            Placement::Interleaved => Ok(interleaved(blocked, ranks)),
            Placement::Listed(domains) => {
                check(domains, blocked, ranks)?;
                Ok(Layout::of(domains))
            }
        }
    }
}

impl std::str::FromStr for Placement {
    type Err = String;

    fn from_str(text: &str) -> Result<Placement, String> {
        match text {
            "blocked" => Ok(Placement::Blocked),
            "interleaved" => Ok(Placement::Interleaved),
            list if list.starts_with(|first: char| first.is_ascii_digit()) => {
                let numbers = list.split(',').map(|number| number.trim().parse::<u32>());
                let told = |_| format!("`{list}` is not a list of domain numbers such as 0,0,1,1");
                numbers.collect::<Result<Vec<_>, _>>().map(Placement::Listed).map_err(told)
            }
            other => {
                let unknown = UnknownName::new("placement", other, ["blocked", "interleaved"].into_iter());
                Err(format!("{unknown}; a list has the domain of each rank, as 0,0,1,1"))
            }
        }
    }
}

fn interleaved(blocked: Layout, ranks: usize) -> Layout {
    let domains = blocked.domains(ranks);
    if domains <= 1 {
        return blocked;
    }
    if blocked.is_even(ranks) {
        return Layout::Interleaved(domains as u32);
    }
    let sizes: Vec<usize> = (0..domains).map(|domain| blocked.domain_size(ranks, domain)).collect();
    let most = sizes.iter().copied().max().unwrap_or(0);
    let sizes = &sizes;
    let order = (0..most).flat_map(|local| (0..domains).filter(move |domain| sizes[*domain] > local));
    Layout::of(&order.map(|domain| domain as u32).collect::<Vec<u32>>())
}

fn check(list: &[u32], blocked: Layout, ranks: usize) -> Result<(), String> {
    if list.len() != ranks {
        return Err(format!("the list has {} ranks, and the machine {ranks}", list.len()));
    }
    let mut placed = vec![0; blocked.domains(ranks)];
    for &domain in list {
        let Some(count) = placed.get_mut(domain as usize) else {
            return Err(format!("there is no domain {domain}; the last is {}", placed.len() - 1));
        };
        *count += 1;
    }
    let mut wrong = (0..placed.len()).map(|domain| (domain, placed[domain], blocked.domain_size(ranks, domain)));
    match wrong.find(|(_, placed, size)| placed != size) {
        Some((domain, placed, size)) => {
            Err(format!("domain {domain} has {size} GPUs, and the list places {placed} ranks there"))
        }
        None => Ok(()),
    }
}

/// The ranks of a layout in the order in which they are to be numbered for another placement: domain after domain, or round and
/// round.
///
/// # Panics
/// For a listed placement, which is no goal.
pub fn order(layout: Layout, ranks: usize, goal: &Placement) -> Vec<Rank> {
    let mut members: Vec<Vec<Rank>> = vec![Vec::new(); layout.domains(ranks)];
    (0..ranks).for_each(|rank| members[layout.domain(rank)].push(rank));
    match goal {
        Placement::Blocked => members.concat(),
        Placement::Interleaved => {
            let most = members.iter().map(Vec::len).max().unwrap_or(0);
            (0..most).flat_map(|local| members.iter().filter_map(move |one| one.get(local).copied())).collect()
        }
        Placement::Listed(_) => panic!("a list is where ranks are, not where they should be"),
    }
}

/// Numbers in a row as runs of equal distance: `0, 2, .. 14; 1, 3, .. 15`. After some runs only how many more there are.
pub fn in_runs(numbers: &[usize]) -> String {
    const SHOWN: usize = 8;
    let mut runs: Vec<&[usize]> = Vec::new();
    let mut rest = numbers;
    while !rest.is_empty() {
        let step = |pair: &[usize]| pair[1] as i64 - pair[0] as i64;
        let first = rest.windows(2).next().map(step);
        let len = 1 + rest.windows(2).take_while(|pair| Some(step(pair)) == first).count();
        let (run, others) = rest.split_at(len);
        runs.push(run);
        rest = others;
    }
    let shown = |run: &&[usize]| match run {
        [first, second, _, .., last] => format!("{first}, {second}, .. {last}"),
        short => short.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
    };
    let text = runs.iter().take(SHOWN).map(shown).collect::<Vec<_>>().join("; ");
    match runs.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text}; and {more} more runs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::machines::Request;

    fn machine(units: usize) -> Topology {
        Request { units, ..Request::new("dgx-h100") }.topology().unwrap()
    }

    #[test]
    fn orders_bring_the_ranks_of_a_domain_together_and_apart() {
        assert_eq!(Placement::Interleaved.layout(&machine(3)).unwrap(), Layout::Interleaved(3));
        assert_eq!(Placement::Interleaved.layout(&machine(1)).unwrap(), Layout::Flat);
        assert_eq!(interleaved(Layout::of(&[0, 0, 0, 1]), 4), Layout::of(&[0, 1, 0, 0]));
        assert_eq!(in_runs(&order(Layout::Interleaved(2), 16, &Placement::Blocked)), "0, 2, .. 14; 1, 3, .. 15");
        assert_eq!(in_runs(&order(Layout::Blocks(2), 4, &Placement::Interleaved)), "0, 2; 1, 3");
        assert_eq!(order(Layout::of(&[0, 1, 1, 0, 0]), 5, &Placement::Interleaved), [0, 1, 3, 2, 4]);
        let many = in_runs(&order(Layout::Interleaved(100), 800, &Placement::Blocked));
        assert!(many.ends_with("; 7, 107, .. 707; and 92 more runs"), "{many}");
    }

    #[test]
    fn a_list_places_every_gpu_once() {
        let listed = |text: &str| text.parse::<Placement>().and_then(|one| one.layout(&machine(2)));
        let alternating = ["0,1"; 8].join(",");
        assert_eq!(listed(&alternating), Ok(Layout::Interleaved(2)));
        assert!(listed("0,1").unwrap_err().contains("2 ranks, and the machine 16"));
        assert!(
            listed(&["0"; 16].join(",")).unwrap_err().contains("domain 0 has 8 GPUs, and the list places 16 ranks")
        );
        assert!(listed(&["2"; 16].join(",")).unwrap_err().contains("no domain 2; the last is 1"));
        assert!(listed("0,x").unwrap_err().contains("is not a list"));
        assert!(listed("interleavd").unwrap_err().contains("did you mean `interleaved`?"));
    }
}
