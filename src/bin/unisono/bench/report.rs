//! What rank 0 prints while a sweep runs: rows on stdout, everything else on stderr.

use super::arguments::Arguments;
use super::measure::{Size, Sweep};
use super::row::{Case, Measured, Row};
use super::table;
use crate::failure::{FAILED, Failure};
use indicatif::ProgressBar;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;
use unisono::size;
use unisono::{Collective, Communicator};

pub struct Report<'a> {
    arguments: &'a Arguments,
    case: Case,
    /// Only rank 0 prints.
    prints: bool,
    progress: ProgressBar,
    rows: Vec<Row>,
    wrong: u64,
}

impl<'a> Report<'a> {
    pub fn new(arguments: &'a Arguments, communicator: &Communicator) -> Report<'a> {
        let transport = match (communicator.size(), communicator.transport()) {
            (1, _) => "memory".to_owned(),
            (_, Some(kind)) => kind.name().to_owned(),
            (_, None) => "mixed".to_owned(),
        };
        let case = Case {
            collective: arguments.collective,
            ranks: communicator.size(),
            transport,
            dtype: arguments.dtype,
            op: arguments.op().name(),
            in_place: arguments.in_place,
            registered: arguments.registered,
            dirty: arguments.dirty,
        };
        let prints = communicator.rank() == 0;
        let progress = match prints && io::stderr().is_terminal() {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        };
        if !progress.is_hidden() {
            // It ticks by a thread of its own.
            progress.enable_steady_tick(Duration::from_millis(200));
        }
        Report { arguments, case, prints, progress, rows: Vec::new(), wrong: 0 }
    }

    pub fn begin(&mut self, sweep: &Sweep<'_>) -> Result<(), Failure> {
        if !self.prints {
            return Ok(());
        }
        if self.arguments.explain {
            self.tell(&format!("# {}", sweep.communicator.describe()));
        }
        if !self.arguments.json {
            table::header(&mut io::stdout().lock(), &self.case)?;
        }
        Ok(())
    }

    pub fn announce(&self, size: Size) {
        self.progress.set_message(format!("{} of {}", self.case.collective, size::format(size.bytes)));
    }

    pub fn add(&mut self, sweep: &Sweep<'_>, measured: Measured) -> Result<(), Failure> {
        self.wrong += measured.errors;
        if !self.prints {
            return Ok(());
        }
        if self.arguments.explain && self.case.collective != Collective::SendRecv {
            self.explain(sweep, measured.bytes)?;
        }
        let row = Row::new(&self.case, measured);
        let mut out = io::stdout().lock();
        self.progress.suspend(|| -> Result<(), Failure> {
            if self.arguments.json {
                let line = serde_json::to_string(&row).map_err(|cause| Failure::new(FAILED, cause.to_string()))?;
                writeln!(out, "{line}")?;
            } else {
                table::row(&mut out, &row)?;
            }
            Ok(out.flush()?)
        })?;
        drop(out);
        self.rows.push(row);
        Ok(())
    }

    /// The choice at one size, with everything that speaks for it.
    fn explain(&self, sweep: &Sweep<'_>, bytes: u64) -> Result<(), Failure> {
        let report = sweep.communicator.report(self.case.collective, bytes)?;
        self.tell(report.to_string().trim_end());
        Ok(())
    }

    /// To stderr, so that stdout has results only.
    fn tell(&self, line: &str) {
        // Where stderr can't be written there is nobody to tell.
        self.progress.suspend(|| _ = writeln!(io::stderr(), "{line}"));
    }

    /// The exit status.
    pub fn end(self) -> Result<u8, Failure> {
        self.progress.finish_and_clear();
        if self.prints && !self.arguments.json {
            table::footer(&mut io::stdout().lock(), &self.rows)?;
        }
        if self.wrong == 0 {
            return Ok(0);
        }
        // The table says it already; scripts that read JSON are told here.
        let told = self.prints.then(|| format!("{} elements came out wrong", self.wrong));
        Err(Failure { status: FAILED, message: told })
    }
}
