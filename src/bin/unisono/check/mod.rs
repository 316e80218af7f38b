//! `unisono check`: proves every plan that the algorithms of the registry write, or the plan in a file.

mod file;
mod progress;
mod proof;
mod write;

use crate::arguments::{ranks, whole};
use crate::failure::{BAD_ARGUMENTS, FAILED, Failure, tell};
use crate::output::Output;
use progress::Progress;
use proof::{Proved, prove, settings};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Instant;
use unisono::Collective;
use unisono::algorithm::{Algorithm, find, registry};
use unisono::plan::Problem;
use unisono::plan::check::{Checked, check};
use unisono::size;
use unisono::words::counted;
use write::{Opened, Target};

/// Prove every registered plan, or the plan in a file: contributions, matching, deadlock, races, and what it costs
///
/// Every root, blocks of equal and of unequal size where an algorithm serves both, 1 tile and 4 where it pipelines, several ways of
/// placing ranks in domains where that makes a difference, input and output apart and in place. Up to 33 ranks each plan is also proved as it is lowered for a small odd count: byte places, waits,
/// message sizes. Exit status 1 if a plan has a flaw, or is too large to be proved, which is told apart.
///
/// A FILE is MSCCL XML or a plan as text, told apart by content.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Prove the plan in this file instead
    #[arg(value_name = "FILE", conflicts_with_all = ["ranks", "collective", "algorithm", "root", "tiles"])]
    file: Option<PathBuf>,

    /// How many ranks: one number, or all from A to B
    #[arg(long, value_name = "N|A..=B", default_value = "1..=17", value_parser = rank_range, allow_negative_numbers = true)]
    ranks: RangeInclusive<usize>,

    /// This collective only
    #[arg(long, value_name = "NAME")]
    collective: Option<Collective>,

    /// This algorithm only
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,

    /// Write the one plan that is asked for, or that FILE holds: as MSCCL XML (PATH ends in .xml), as text (.plan, .txt), or as Chakra
    /// traces, one per rank (PREFIX.et, or a folder)
    #[arg(long, value_name = "PATH", value_parser = Target::new)]
    write: Option<Target>,

    /// The root of the plan to write
    #[arg(long, value_name = "RANK", default_value_t = 0, requires = "write", value_parser = whole::<usize>, allow_negative_numbers = true)]
    root: usize,

    /// Into how many tiles the plan to write cuts its blocks
    #[arg(long, value_name = "N", default_value_t = 1, requires = "write", value_parser = tiles, allow_negative_numbers = true)]
    tiles: u32,

    /// The bytes of the collective in Chakra traces, as nccl-tests counts them
    #[arg(long, value_name = "SIZE", default_value = "1MiB", requires = "write", value_parser = size::parse, allow_negative_numbers = true)]
    bytes: u64,

    /// One JSON object for each algorithm, collective and number of ranks, instead of the table
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub fn run(self) -> Result<u8, Failure> {
        if let Some(path) = &self.file {
            let mut out = Output::stdout();
            let target = self.write.as_ref().map(Target::open).transpose()?;
            let Some(checked) = file::prove(path, self.json, &mut out)? else { return Ok(FAILED) };
            return self.write(&checked, target, &mut out);
        }
        let unknown = |told| Failure::new(BAD_ARGUMENTS, format!("--algorithm: {told}"));
        let named = self.algorithm.as_deref().map(find).transpose().map_err(unknown)?;
        let algorithms = named.as_ref().map_or(registry(), std::slice::from_ref);
        let collectives = self.collective.as_ref().map_or(&Collective::ALL[..], std::slice::from_ref);
        let pairs =
            algorithms.iter().flat_map(|algorithm| collectives.iter().map(|collective| (*algorithm, *collective)));
        let is_asked = |(algorithm, collective): &(&dyn Algorithm, Collective)| {
            self.ranks.clone().any(|ranks| fits(*algorithm, *collective, ranks).is_ok())
        };
        let pairs: Vec<_> = pairs.filter(is_asked).collect();
        if pairs.is_empty() {
            return Err(self.nothing_fits(algorithms, collectives));
        }
        match &self.write {
            Some(_) => self.prove_and_write(&pairs),
            None => self.prove_all(&pairs),
        }
    }

    fn prove_and_write(&self, pairs: &[(&dyn Algorithm, Collective)]) -> Result<u8, Failure> {
        let (algorithm, collective) = write::only(pairs.iter(), "--algorithm and --collective")?;
        let ranks = write::only(self.ranks.clone(), "--ranks")?;
        let (even, uneven) = (collective.even(), collective.is_uneven());
        let problem = Problem { root: self.root, uneven, tiles: self.tiles, ..Problem::new(even, ranks) };
        if let Err(reason) = algorithm.fits(&problem) {
            return Err(Failure::new(BAD_ARGUMENTS, format!("{} does not fit: it {reason}", algorithm.name())));
        }
        let target = self.write.as_ref().map(Target::open).transpose()?;
        let checked = check(&algorithm.plan(&problem)).map_err(unisono::Error::from)?;
        self.write(&checked, target, &mut Output::stdout())
    }

    fn write(&self, checked: &Checked, target: Option<Opened<'_>>, out: &mut Output) -> Result<u8, Failure> {
        if let Some(target) = target {
            target.write(checked, self.bytes, self.json, out)?;
        }
        Ok(0)
    }

    fn prove_all(&self, pairs: &[(&dyn Algorithm, Collective)]) -> Result<u8, Failure> {
        let started = Instant::now();
        let mut out = Output::stdout();
        let mut total = Total::default();
        let progress = Progress::on_stderr();
        if !self.json {
            print_line(
                &mut out,
                ["# algorithm", "collective", "ranks", "plans", "hops", "moves", "scratch", "bit-equal"],
            )?;
        }
        for (algorithm, collective) in pairs {
            let mut proved = Vec::new();
            for ranks in self.ranks.clone().filter(|ranks| fits(*algorithm, *collective, *ranks).is_ok()) {
                progress.at(format!("proving {} {collective} among {}", algorithm.name(), counted(ranks, "rank")));
                let row = prove(*algorithm, *collective, ranks);
                total.add(&row);
                if self.json {
                    out.json(&row)?;
                }
                proved.push(row);
            }
            if !self.json {
                summarize(&mut out, &proved)?;
            }
        }
        if !self.json {
            let seconds = started.elapsed().as_secs_f64();
            let unproved = match total.unproved {
                0 => String::new(),
                unproved => format!(", {unproved} too large to be proved"),
            };
            let Total { plans, flaws, .. } = total;
            let plans = counted(plans, "plan");
            out.line(&format!("# {plans} proved, {flaws} with a flaw{unproved}, in {seconds:.1} s"))?;
        }
        Ok(if total.flaws == 0 && total.unproved == 0 { 0 } else { FAILED })
    }

    fn nothing_fits(&self, algorithms: &[&dyn Algorithm], collectives: &[Collective]) -> Failure {
        let told = match (algorithms, collectives) {
            ([algorithm], [collective]) => match fits(*algorithm, *collective, *self.ranks.start()) {
                Err(reason) => format!("{} does not fit {collective}: it {reason}", algorithm.name()),
                Ok(()) => unreachable!("what fits is proved"),
            },
            ([algorithm], _) => format!("{} fits no collective at so many ranks", algorithm.name()),
            (_, [collective]) => format!("no algorithm serves {collective}"),
            _ => "no algorithm fits so many ranks".to_owned(),
        };
        Failure::new(BAD_ARGUMENTS, format!("{told}: change --algorithm, --collective or --ranks, or leave them out"))
    }
}

fn tiles(text: &str) -> Result<u32, String> {
    match whole(text)? {
        0 => Err("a plan has at least 1 tile".to_owned()),
        tiles => Ok(tiles),
    }
}

#[derive(Default)]
struct Total {
    plans: u64,
    flaws: u64,
    unproved: u64,
}

impl Total {
    /// Adds up, and tells on stderr why a plan was not proved, if one was not.
    fn add(&mut self, row: &Proved) {
        self.plans += row.plans;
        self.flaws += row.flaws;
        self.unproved += row.unproved;
        for told in row.flaw.iter().chain(&row.why_unproved) {
            tell(told);
        }
    }
}

/// Whether the algorithm answers this collective at all, however the ranks lie; the error is its reason.
fn fits(algorithm: &dyn Algorithm, collective: Collective, ranks: usize) -> Result<(), String> {
    if !settings(algorithm, collective, ranks).is_empty() {
        return Ok(());
    }
    algorithm.fits(&Problem { uneven: collective.is_uneven(), ..Problem::new(collective.even(), ranks) })
}

/// One line for all numbers of ranks.
fn summarize(out: &mut Output, proved: &[Proved]) -> Result<(), Failure> {
    let (first, last) = (&proved[0], &proved[proved.len() - 1]);
    let is_whole = proved.len() == last.ranks - first.ranks + 1;
    let ranks = match (is_whole, first.ranks == last.ranks) {
        (_, true) => first.ranks.to_string(),
        (true, false) => format!("{}..={}", first.ranks, last.ranks),
        (false, false) => format!("{} of {}..={}", proved.len(), first.ranks, last.ranks),
    };
    let flaws: u64 = proved.iter().map(|row| row.flaws).sum();
    let plans: u64 = proved.iter().map(|row| row.plans).sum();
    let unproved: u64 = proved.iter().map(|row| row.unproved).sum();
    let count = |count: u64, what: &str| if count == 0 { String::new() } else { format!(", {count} {what}") };
    let plans = format!("{plans}{}{}", count(flaws, "FLAWED"), count(unproved, "not proved"));
    let most = |field: fn(&Proved) -> u64| proved.iter().map(field).max().unwrap_or(0).to_string();
    print_line(
        out,
        [
            first.algorithm,
            first.collective,
            &ranks,
            &plans,
            &most(|row| u64::from(row.hops)),
            &most(|row| row.moves),
            &most(|row| u64::from(row.scratch_chunks)),
            if proved.iter().all(|row| row.bit_equal) { "yes" } else { "no" },
        ],
    )
}

fn print_line(out: &mut Output, columns: [&str; 8]) -> Result<(), Failure> {
    let [algorithm, collective, ranks, plans, hops, moves, scratch, bit_equal] = columns;
    out.line(&format!(
        "{algorithm:<19} {collective:<16} {ranks:>12} {plans:>8} {hops:>6} {moves:>9} {scratch:>8} {bit_equal:>10}"
    ))
}

/// `N` or `A..=B`.
fn rank_range(text: &str) -> Result<RangeInclusive<usize>, String> {
    let Some((first, last)) = text.split_once("..=") else {
        return ranks(text).map(|one| one..=one).map_err(|told| format!("{told}, or a range such as 1..=17"));
    };
    let (first, last) = (ranks(first)?, ranks(last)?);
    if first > last {
        return Err(format!("`{text}` is empty: write the smaller number first"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_one_number_or_both_ends() {
        assert_eq!(rank_range("5"), Ok(5..=5));
        assert_eq!(rank_range("1..=17"), Ok(1..=17));
        for text in ["", "0", "0..=3", "3..=1", "1..3", "1..=", "..=3", "1..=2..=3", "a..=b", "-1..=3"] {
            let told = rank_range(text).expect_err(text);
            assert!(!told.is_empty(), "{text}");
        }
    }
}
