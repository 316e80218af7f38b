//! `unisono doctor`: what this host offers, and what stands in the way of a job.

mod cgroup;
mod cores;
mod essentials;
mod host;
mod limits;
mod memory;
mod network;
mod variables;

use crate::failure::{FAILED, Failure};
use crate::output::Output;
use serde::Serialize;

/// Look at this host, and say what stands in the way of a job
///
/// Exit status 0, also with advice; 1 if something is broken that every job needs.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// One JSON object instead of the table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    host: host::Host,
    cores: cores::Cores,
    memory: memory::Memory,
    limits: limits::Limits,
    network: network::Network,
    essentials: Vec<essentials::Essential>,
    environment: variables::Environment,
    #[serde(flatten)]
    findings: Findings,
}

/// What a user can do something about, a sentence each.
#[derive(Default, Serialize)]
pub struct Findings {
    /// No job can run before this is repaired.
    broken: Vec<String>,
    /// Jobs run, but less well than they could.
    advice: Vec<String>,
}

impl Findings {
    fn broken(&mut self, sentence: impl Into<String>) {
        self.broken.push(sentence.into());
    }

    fn advise(&mut self, sentence: impl Into<String>) {
        self.advice.push(sentence.into());
    }
}

/// A part of the report: its name in the table, its lines, and what it finds.
trait Section {
    const NAME: &'static str;
    fn lines(&self) -> Vec<String>;
    fn judge(&self, findings: &mut Findings);
}

impl Arguments {
    pub fn run(self) -> Result<u8, Failure> {
        let report = Report::of_this_host();
        let mut out = Output::stdout();
        if self.json {
            out.json(&report)?;
        } else {
            report.print(&mut out)?;
        }
        Ok(if report.findings.broken.is_empty() { 0 } else { FAILED })
    }
}

impl Report {
    fn of_this_host() -> Report {
        let groups = cgroup::Groups::of_this_process();
        let mut report = Report {
            host: host::Host::look(),
            cores: cores::Cores::look(&groups),
            memory: memory::Memory::look(&groups),
            limits: limits::Limits::look(&groups),
            network: network::Network::look(),
            essentials: essentials::try_all(),
            environment: variables::Environment::look(),
            findings: Findings::default(),
        };
        let mut findings = Findings::default();
        report.host.judge(&mut findings);
        report.cores.judge(&mut findings);
        report.memory.judge(&mut findings);
        report.limits.judge(&mut findings);
        report.network.judge(&mut findings);
        report.essentials.judge(&mut findings);
        report.environment.judge(&mut findings);
        report.findings = findings;
        report
    }

    fn print(&self, out: &mut Output) -> Result<(), Failure> {
        print_section(out, &self.host)?;
        print_section(out, &self.cores)?;
        print_section(out, &self.memory)?;
        print_section(out, &self.limits)?;
        print_section(out, &self.network)?;
        print_section(out, &self.essentials)?;
        print_section(out, &self.environment)?;
        out.line("")?;
        for sentence in &self.findings.broken {
            out.line(&format!("broken: {sentence}"))?;
        }
        for sentence in &self.findings.advice {
            out.line(&format!("advice: {sentence}"))?;
        }
        if self.findings.broken.is_empty() && self.findings.advice.is_empty() {
            out.line("nothing stands in the way of a job on this host")?;
        }
        Ok(())
    }
}

fn print_section<S: Section>(out: &mut Output, section: &S) -> Result<(), Failure> {
    let names = std::iter::once(S::NAME).chain(std::iter::repeat(""));
    for (name, line) in names.zip(section.lines()) {
        out.line(&format!("{name:<13} {line}"))?;
    }
    Ok(())
}

/// The text of a small file of the kernel, without the newline at its end.
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

/// A size for people, with three digits that count.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let steps = (bytes.max(1).ilog2() / 10).min(4);
    let number = bytes as f64 / (1u64 << (10 * steps)) as f64;
    match number {
        whole if whole.fract() == 0.0 => format!("{whole:.0} {}", UNITS[steps as usize]),
        small if small < 100.0 => format!("{small:.1} {}", UNITS[steps as usize]),
        large => format!("{large:.0} {}", UNITS[steps as usize]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let shown = [0, 8, 1024, 8 << 20, (3 << 30) / 2, 123_456_789, u64::MAX].map(human);
        assert_eq!(shown, ["0 B", "8 B", "1 KiB", "8 MiB", "1.5 GiB", "118 MiB", "16777216 TiB"]);
    }
}
