//! A plan from a file: MSCCL XML, or our own text form, told apart by content.

use crate::bounded;
use crate::failure::{BAD_ARGUMENTS, FAILED, Failure};
use std::path::Path;
use unisono::plan::Plan;
use unisono::plan::check::{Checked, Flaw, check};
use unisono::plan::msccl::{Connections, Document, Reading};
use unisono::plan::text;
use unisono::words::counted;

pub struct PlanFile {
    pub name: String,
    text: String,
    pub plan: Plan,
    msccl: Option<(Document, Reading)>,
}

/// Why a plan is not proved.
pub struct Unproved {
    /// In words.
    pub why: String,
    /// Else it is too large to be proved, and nothing is known of it.
    pub has_flaw: bool,
}

impl PlanFile {
    /// Reads it; what it holds may be wrong in what it does. That no text can be read from it is a bad argument; that the text is no
    /// plan, or a wrong one, is for the command to find.
    pub fn read(path: &Path) -> Result<PlanFile, Failure> {
        let name = path.display().to_string();
        let no_plan = |why: String| {
            let remedy = "give MSCCL XML or a plan as text, such as `unisono check --write` writes";
            Failure::new(BAD_ARGUMENTS, format!("{name} is no plan: {why}; {remedy}"))
        };
        if path.is_dir() {
            return Err(no_plan("it is a folder".to_owned()));
        }
        let unread = |error| Failure::new(BAD_ARGUMENTS, format!("cannot read {name}: {error}"));
        let bytes = bounded::read(path, u64::MAX).map_err(unread)?;
        let text = String::from_utf8(bytes).map_err(|_| no_plan("it is not UTF-8 text".to_owned()))?;
        if text.trim_start_matches('\u{feff}').trim().is_empty() {
            return Err(no_plan("it is empty".to_owned()));
        }
        let unreadable = |error: text::TextError| Failure::new(FAILED, format!("{name}: {error}"));
        if !text.trim_start_matches('\u{feff}').trim_start().starts_with('<') {
            let plan = text::parse(&text).map_err(unreadable)?;
            return Ok(PlanFile { name, text, plan, msccl: None });
        }
        let document = Document::parse(&text).map_err(unreadable)?;
        let reading = document.plan(&text, Connections::Posted).map_err(unreadable)?;
        Ok(PlanFile { name, text, plan: reading.plan.clone(), msccl: Some((document, reading)) })
    }

    /// What MSCCL XML says beside the plan.
    pub fn document(&self) -> Option<&Document> {
        self.msccl.as_ref().map(|(document, _)| document)
    }

    /// Proves the plan; one of MSCCL also with the few messages that its connections hold.
    pub fn prove(&self) -> Result<Checked, Unproved> {
        let unproved = |flaw: &Flaw, why: String| Unproved { why, has_flaw: !matches!(flaw, Flaw::TooLarge { .. }) };
        let Some((document, reading)) = &self.msccl else {
            return check(&self.plan).map_err(|flaw| unproved(&flaw, flaw.to_string()));
        };
        let checked = check(&self.plan).map_err(|flaw| unproved(&flaw, self.told(&flaw, document, reading)))?;
        let buffered = document.plan(&self.text, Connections::Buffered);
        let buffered = buffered.map_err(|error| Unproved { why: error.to_string(), has_flaw: true })?;
        check(&buffered.plan).map_err(|flaw| {
            let depth = document.protocol().connection_depth();
            let told = self.told(&flaw, document, &buffered);
            unproved(&flaw, format!("with connections that hold {}: {told}", counted(depth, "message")))
        })?;
        Ok(checked)
    }

    /// The flaw in the plan's words, and where that stands in the file.
    fn told(&self, flaw: &Flaw, document: &Document, reading: &Reading) -> String {
        match flaw.place().and_then(|place| reading.origin(&place)) {
            Some(origin) => {
                let line = document.line(&self.text, &origin);
                format!("{flaw} (line {line}: gpu {}, tb {}, step {})", origin.gpu, origin.block, origin.step)
            }
            None => flaw.to_string(),
        }
    }
}
