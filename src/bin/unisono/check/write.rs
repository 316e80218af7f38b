//! Writes a proved plan in the form that a path's ending names.

use crate::failure::{BAD_ARGUMENTS, FAILED, Failure};
use crate::output::Output;
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use unisono::plan::chakra;
use unisono::plan::check::{Checked, check};
use unisono::plan::msccl::{self, Connections, Document, Protocol};

/// Sizes in a trace are of elements of this many bytes, as of an `f32`.
const ELEMENT_BYTES: u64 = 4;
/// What RCCL takes: thread blocks of a GPU, and steps of each (`MSCCL_MAX_NUM_THREAD_BLOCKS`, `MSCCL_MAX_NUM_STEPS`).
const RCCL_BLOCKS: usize = 64;
const RCCL_STEPS: usize = 64;

/// How a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Msccl,
    Text,
    /// A file for each rank.
    Chakra,
}

/// Where to write, and as what; refused before any work if the ending names no form.
#[derive(Clone, Debug)]
pub struct Target {
    path: PathBuf,
    form: Form,
}

impl Target {
    pub fn new(text: &str) -> Result<Target, String> {
        let path = PathBuf::from(text);
        let form = match path.extension().and_then(|extension| extension.to_str()) {
            Some("xml") => Form::Msccl,
            Some("plan" | "txt") => Form::Text,
            Some("et") => Form::Chakra,
            _ if text.ends_with('/') || path.is_dir() => Form::Chakra,
            _ => {
                return Err(format!(
                    "`{text}` names no form: write FILE.xml (MSCCL XML), FILE.plan (text), or PREFIX.et or a folder (Chakra traces)"
                ));
            }
        };
        Ok(Target { path, form })
    }

    /// Writes the plan, and says on stdout what was written.
    pub fn write(&self, checked: &Checked, bytes: u64, json: bool, out: &mut Output) -> Result<(), Failure> {
        let written = match self.form {
            Form::Msccl => self.write_msccl(checked)?,
            Form::Text => self.write_text(checked)?,
            Form::Chakra => self.write_chakra(checked, bytes)?,
        };
        if json { out.json(&written) } else { out.line(&written.to_string()) }
    }

    fn write_text(&self, checked: &Checked) -> Result<Written, Failure> {
        self.write_file(&self.path, checked.plan().text().to_string().as_bytes())?;
        Ok(Written { written: vec![self.path.display().to_string()], format: "plan", ..Written::default() })
    }

    /// Reads back what it writes, and proves that.
    fn write_msccl(&self, checked: &Checked) -> Result<Written, Failure> {
        let name = self.path.display();
        let text = msccl::write(checked, Protocol::Simple)?;
        let wrong = |what: String| Failure::new(FAILED, format!("{name} would not be right: {what}"));
        let document = Document::parse(&text).map_err(|error| wrong(error.to_string()))?;
        let buffered = document.plan(&text, Connections::Buffered).map_err(|error| wrong(error.to_string()))?;
        check(&buffered.plan).map_err(|flaw| wrong(flaw.to_string()))?;
        self.write_file(&self.path, text.as_bytes())?;
        let (blocks, steps) = (document.thread_blocks(), document.steps());
        let written = vec![name.to_string()];
        Ok(Written { written, format: "msccl", bytes: None, thread_blocks: Some(blocks), steps: Some(steps) })
    }

    fn write_chakra(&self, checked: &Checked, bytes: u64) -> Result<Written, Failure> {
        let prefix = match self.path.extension() {
            Some(extension) if extension == "et" => self.path.with_extension(""),
            _ => self.path.join(checked.plan().algorithm.replace('/', "_")),
        };
        if let Some(folder) = prefix.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)
                .map_err(|error| Failure::new(FAILED, format!("cannot make {}: {error}", folder.display())))?;
        }
        let traces = chakra::traces(checked, bytes, ELEMENT_BYTES)?;
        let mut written = Vec::new();
        for (rank, trace) in traces.iter().enumerate() {
            let mut name = prefix.clone().into_os_string();
            name.push(format!(".{rank}.et"));
            self.write_file(Path::new(&name), trace)?;
            written.push(Path::new(&name).display().to_string());
        }
        Ok(Written { written, format: "chakra", bytes: Some(bytes), ..Written::default() })
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        fs::write(path, bytes)
            .map_err(|error| Failure::new(FAILED, format!("cannot write {}: {error}", path.display())))
    }
}

/// What was written; the line of `--json`.
#[derive(Default, Serialize)]
struct Written {
    written: Vec<String>,
    format: &'static str,
    /// Of the collective, in traces.
    bytes: Option<u64>,
    /// Of the GPU that has most.
    thread_blocks: Option<usize>,
    /// Of the thread block that has most.
    steps: Option<usize>,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrote {}", self.written[0])?;
        if let [_, .., last] = &self.written[..] {
            write!(f, " to {last}")?;
        }
        if let (Some(blocks), Some(steps)) = (self.thread_blocks, self.steps) {
            write!(f, ", read back and proved: at most {blocks} thread blocks a GPU, {steps} steps a block")?;
            if blocks > RCCL_BLOCKS || steps > RCCL_STEPS {
                write!(f, " (RCCL takes {RCCL_BLOCKS} and {RCCL_STEPS})")?;
            }
        }
        self.bytes.map_or(Ok(()), |bytes| write!(f, ", for a collective of {bytes} bytes"))
    }
}

/// A plan to be written is one: not several roots, numbers of ranks or algorithms.
pub fn only<T>(mut asked: impl Iterator<Item = T>, option: &str) -> Result<T, Failure> {
    match (asked.next(), asked.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(Failure::new(BAD_ARGUMENTS, format!("--write is for one plan: give one {option}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_a_path_says_the_form() {
        let form = |text: &str| Target::new(text).map(|target| target.form);
        assert_eq!(form("a.xml"), Ok(Form::Msccl));
        assert_eq!(form("a.b.plan"), Ok(Form::Text));
        assert_eq!(form("a.txt"), Ok(Form::Text));
        assert_eq!(form("ring.et"), Ok(Form::Chakra));
        assert_eq!(form("not there/"), Ok(Form::Chakra));
        assert_eq!(form("."), Ok(Form::Chakra));
        for text in ["a", "a.json", "a.XML", ""] {
            assert!(form(text).unwrap_err().contains("names no form"), "{text}");
        }
    }
}
