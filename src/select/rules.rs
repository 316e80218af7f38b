//! A user's rules: which algorithm to take for which collective, sizes, ranks and machine, before any price is asked.
//!
//! A rules file is CSV with this header, a rule a line; `#` begins a comment. Sizes are bytes as the command line reads them
//! ([`size`]); both ends of a range count as inside; `*` stands for no limit, or any.
//!
//! ```
//! use unisono::select::rules::Rules;
//! use unisono::Collective;
//!
//! let rules = Rules::parse(
//!     "rules.csv",
//!     "collective,min_bytes,max_bytes,min_ranks,max_ranks,machine,algorithm\n\
//!      all_reduce,0,64KiB,2,8,*,one_shot\n\
//!      all_reduce,65537,*,*,*,p6e-gb200x72,ring\n",
//! )?;
//! assert_eq!(rules.find(Collective::AllReduce, 1024, 4, "host").map(|rule| &*rule.algorithm), Some("one_shot"));
//! assert_eq!(rules.find(Collective::AllReduce, 1 << 20, 4, "host"), None);
//! let overlap = Rules::parse("rules.csv", &"all_reduce,0,*,*,*,*,ring\n".repeat(2)).unwrap_err();
//! assert!(overlap.to_string().contains("line 1, column 1"), "the header is missing: {overlap}");
//! # Ok::<(), unisono::Error>(())
//! ```

use crate::algorithm;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Problem;
use crate::size;
use crate::topology::machines::{self, HOST};
use crate::types::{Collective, UnknownName, edit_distance};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

const HEADER: [&str; 7] = ["collective", "min_bytes", "max_bytes", "min_ranks", "max_ranks", "machine", "algorithm"];
/// More rules than anybody writes; overlaps are looked for among all pairs.
const MOST_RULES: usize = 4096;
/// A job has at most so many.
const MOST_RANKS: u64 = u32::MAX as u64;

/// One line of a rules file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// By name, as [`Collective::name`] says.
    pub collective: String,
    pub bytes: RangeInclusive<u64>,
    pub ranks: RangeInclusive<usize>,
    /// None: any.
    pub machine: Option<String>,
    pub algorithm: String,
    /// Where it stands.
    pub line: usize,
}

/// Rules of which no two can match the same call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// The file they came from, for explanations.
    pub file: String,
    pub rules: Vec<Rule>,
}

impl Rules {
    /// Reads a rules file. `file` is its name, for errors.
    ///
    /// # Errors
    /// An unknown name, a number that is none, a rule that can never match, a rule that overlaps another: one sentence with line and
    /// column.
    pub fn parse(file: &str, text: &str) -> Result<Rules> {
        let wrong = |line: usize, column: usize, what: String| {
            Error::new(ErrorKind::Configuration, format!("{file}, line {line}, column {column}: {what}"))
        };
        let lines = (1..).zip(text.lines()).map(|(number, line)| (number, line.split('#').next().unwrap_or_default()));
        let mut lines = lines.filter(|(_, line)| !line.trim().is_empty());
        let Some((number, header)) = lines.next() else {
            return Err(wrong(1, 1, format!("no rules; the first line is to be {}", HEADER.join(","))));
        };
        if header.split(',').map(str::trim).ne(HEADER) {
            return Err(wrong(number, 1, format!("the first line is to be {}", HEADER.join(","))));
        }
        let mut rules: Vec<Rule> = Vec::new();
        for (number, line) in lines {
            let rule = Fields::new(number, line).and_then(|fields| fields.rule());
            let rule = rule.map_err(|(column, what)| wrong(number, column, what))?;
            if let Some(other) = rules.iter().find(|other| other.overlaps(&rule)) {
                let what =
                    format!("this rule and that of line {} match the same calls; narrow one of them", other.line);
                return Err(wrong(number, 1, what));
            }
            if rules.len() == MOST_RULES {
                return Err(wrong(number, 1, format!("more than {MOST_RULES} rules")));
            }
            rules.push(rule);
        }
        Ok(Rules { file: file.to_owned(), rules })
    }

    /// The rule for a call, if there is one.
    pub fn find(&self, collective: Collective, bytes: u64, ranks: usize, machine: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| {
            rule.collective == collective.name()
                && rule.bytes.contains(&bytes)
                && rule.ranks.contains(&ranks)
                && rule.machine.as_deref().is_none_or(|one| one == machine)
        })
    }
}

impl Rule {
    /// Where it stands and what it says, in words. `file` is where it stands.
    pub fn told(&self, file: &str) -> String {
        format!("line {} of {file} says {}", self.line, self.algorithm)
    }

    fn overlaps(&self, other: &Rule) -> bool {
        let machines = self.machine.is_none() || other.machine.is_none() || self.machine == other.machine;
        self.collective == other.collective
            && machines
            && self.bytes.start() <= other.bytes.end()
            && other.bytes.start() <= self.bytes.end()
            && self.ranks.start() <= other.ranks.end()
            && other.ranks.start() <= self.ranks.end()
    }
}

/// Where a field begins, in columns from 1, and what is wrong with it.
type Wrong = (usize, String);

struct Fields<'a> {
    number: usize,
    fields: [(usize, &'a str); 7],
}

impl<'a> Fields<'a> {
    fn new(number: usize, line: &'a str) -> std::result::Result<Fields<'a>, Wrong> {
        let mut column = 1;
        let mut fields = Vec::new();
        for field in line.split(',') {
            let blanks = field.chars().take_while(|c| c.is_whitespace()).count();
            fields.push((column + blanks, field.trim()));
            column += field.chars().count() + 1;
        }
        let count = fields.len();
        let fields = fields.try_into();
        let fields = fields.map_err(|_| (1, format!("{count} fields where {} are to be", HEADER.join(","))))?;
        Ok(Fields { number, fields })
    }

    fn rule(&self) -> std::result::Result<Rule, Wrong> {
        let [collective, min_bytes, max_bytes, min_ranks, max_ranks, machine, algorithm] = self.fields;
        let unknown = |at: (usize, &str)| move |error: UnknownName| (at.0, error.to_string());
        let named: Collective = collective.1.parse().map_err(unknown(collective))?;
        let one = algorithm::find(algorithm.1).map_err(unknown(algorithm))?;
        let bytes = range(min_bytes, max_bytes, size::parse, 0..=u64::MAX)?;
        let ranks = range(min_ranks, max_ranks, ranks, 1..=MOST_RANKS)?;
        let ranks = *ranks.start() as usize..=*ranks.end() as usize;
        let samples =
            [*ranks.start(), *ranks.end().min(&(ranks.start() + 64)), (*ranks.start()).max(2).min(*ranks.end())];
        let fits = |ranks: usize| {
            let problem = Problem { uneven: named.is_uneven(), ..Problem::new(named.even(), ranks) };
            algorithm::fits_somewhere(one, &problem)
        };
        if let (Err(reason), true) = (fits(samples[0]), samples.iter().all(|ranks| fits(*ranks).is_err())) {
            return Err((algorithm.0, format!("this rule can never match: {} {reason}", one.name())));
        }
        if machine.1.is_empty() {
            return Err((machine.0, "an empty name; `*` stands for any machine".to_owned()));
        }
        // A machine of a file may have any name, but one that is all but a preset's is a slip.
        let is_slip = |known: &str| machine.1.len() > 3 && edit_distance(known, machine.1) <= 2;
        if machines::find(machine.1).is_err() && machine.1 != HOST && machines::names().any(is_slip) {
            return Err((machine.0, UnknownName::new("machine", machine.1, machines::names()).to_string()));
        }
        Ok(Rule {
            collective: named.name().to_owned(),
            bytes,
            ranks,
            machine: (machine.1 != "*").then(|| machine.1.to_owned()),
            algorithm: one.name().to_owned(),
            line: self.number,
        })
    }
}

/// The part of a range that lies within `limits`.
fn range(
    min: (usize, &str),
    max: (usize, &str),
    read: impl Fn(&str) -> std::result::Result<u64, String>,
    limits: RangeInclusive<u64>,
) -> std::result::Result<RangeInclusive<u64>, Wrong> {
    let (least, most) = limits.into_inner();
    let end_of = |(column, text): (usize, &str), unlimited: u64| match text {
        "*" => Ok(unlimited),
        _ => read(text).map_err(|told| (column, told)),
    };
    let (given_start, given_end) = (end_of(min, least)?, end_of(max, most)?);
    let (start, end) = (given_start.max(least), given_end.min(most));
    if start > end {
        let shown = |text: &str, given, value: u64| match text {
            "*" => value.to_string(),
            _ if given != value => value.to_string(),
            _ => text.to_owned(),
        };
        let (start, end) = (shown(min.1, given_start, start), shown(max.1, given_end, end));
        return Err((min.0, format!("this rule can never match: {start} is more than {end}")));
    }
    Ok(start..=end)
}

fn ranks(text: &str) -> std::result::Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number of ranks: write one such as 4, or `*`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rule: &str) -> String {
        let text = format!("{}\n# comment\n\n{rule}\n", HEADER.join(","));
        Rules::parse("r.csv", &text).expect_err(rule).to_string()
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_told_with_its_place() {
        for (rule, words) in [
            (
                "all_redcue,0,*,*,*,*,ring",
                "r.csv, line 4, column 1: unknown collective `all_redcue`; did you mean `all_reduce`?",
            ),
            ("all_reduce,0,*,*,*,*,rign", "r.csv, line 4, column 22: unknown algorithm `rign`; did you mean `ring`?"),
            (
                "all_reduce,1KB,*,*,*,*,ring",
                "column 12: `1KB` is not a size: write bytes such as 8, 64KiB, 1MiB or 1GiB",
            ),
            ("all_reduce,2KiB,1KiB,*,*,*,ring", "column 12: this rule can never match: 2KiB is more than 1KiB"),
            ("all_reduce,0,*, 9,8,*,ring", "column 17: this rule can never match: 9 is more than 8"),
            ("all_reduce,0,*,4294967296,*,*,ring", "this rule can never match: 4294967296 is more than 4294967295"),
            ("all_reduce,0,*,18446744073709551615,18446744073709551615,*,ring", "is more than 4294967295"),
            ("all_reduce,0,*,0,0,*,ring", "this rule can never match: 1 is more than 0"),
            ("all_reduce,0,*,*,*,dgx-h10,ring", "column 20: unknown machine `dgx-h10`; did you mean `dgx-h100`?"),
            ("broadcast,0,*,*,*,*,ring", "column 21: this rule can never match: ring answers"),
            ("all_reduce,0,*,*,*,ring", "column 1: 6 fields where"),
            ("all_reduce,0,*,*,*,,ring", "an empty name"),
            ("all_reduce,0,99999999999999999999,*,*,*,ring", "is more than the 2^64 - 1 bytes that a size can have"),
            ("all_reduce,0,*,1KiB,*,*,ring", "column 16: `1KiB` is not a number of ranks: write one such as 4, or `*`"),
            (
                "all_reduce,0,8,*,*,*,ring\nall_reduce,8,9,4,4,host,two_shot",
                "line 5, column 1: this rule and that of line 4 match the same calls",
            ),
        ] {
            assert!(told(rule).contains(words), "{rule}: {}", told(rule));
        }
        assert!(Rules::parse("r.csv", "").unwrap_err().to_string().contains("no rules"));
    }

    #[test]
    fn rules_match_at_their_edges_and_not_beyond() {
        let text = format!("{}\nall_gather,1KiB,2KiB,2,4,host,ring\n", HEADER.join(","));
        let rules = Rules::parse("r.csv", &text).unwrap();
        let found = |bytes, ranks, machine| rules.find(Collective::AllGather, bytes, ranks, machine).is_some();
        assert!(found(1024, 2, "host") && found(2048, 4, "host"));
        assert!(
            !found(1023, 2, "host") && !found(2049, 2, "host") && !found(1024, 5, "host") && !found(1024, 1, "host")
        );
        assert!(!found(1024, 2, "p5") && rules.find(Collective::AllReduce, 1024, 2, "host").is_none());
    }
}
