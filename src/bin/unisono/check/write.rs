//! Writes a proved plan in the form that a path's ending names.

use crate::failure::{BAD_ARGUMENTS, FAILED, Failure};
use crate::output::Output;
use crate::output_file::OutputFile;
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use unisono::plan::chakra;
use unisono::plan::check::{Checked, check};
use unisono::plan::msccl::{self, Connections, Document, Protocol};
use unisono::words::counted;

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

    /// Opens the file or the folder, so that no proof is done in vain.
    ///
    /// # Errors
    /// If nothing can be written there: a bad argument.
    pub fn open(&self) -> Result<Opened<'_>, Failure> {
        let place = match self.form {
            Form::Msccl | Form::Text => Place::File(OutputFile::open("--write", &self.path)?),
            Form::Chakra => Place::Folder(Folder::open(self.folder())?),
        };
        Ok(Opened { target: self, place })
    }

    /// Of the traces.
    fn folder(&self) -> &Path {
        match self.path.extension() {
            Some(extension) if extension == "et" => self.path.parent().unwrap_or(Path::new("")),
            _ => &self.path,
        }
    }
}

/// A target that can be written.
pub struct Opened<'a> {
    target: &'a Target,
    place: Place,
}

enum Place {
    File(OutputFile),
    Folder(Folder),
}

/// A folder that is there; if it is new and nothing comes to lie in it, it is gone again.
struct Folder {
    path: PathBuf,
    is_new: bool,
}

impl Folder {
    fn open(path: &Path) -> Result<Folder, Failure> {
        let is_new = !path.exists();
        // The present folder has no name in a path without one.
        if is_new && !path.as_os_str().is_empty() {
            let refused = |error| format!("--write: cannot make the folder {}: {error}; name another", path.display());
            fs::create_dir_all(path).map_err(|error| Failure::new(BAD_ARGUMENTS, refused(error)))?;
        }
        Ok(Folder { path: path.to_owned(), is_new })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_new {
            // What has files in it can't be removed, and is to stay.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

impl Opened<'_> {
    /// Writes the plan, and says on stdout what was written.
    pub fn write(self, checked: &Checked, bytes: u64, json: bool, out: &mut Output) -> Result<(), Failure> {
        let Opened { target, place } = self;
        let written = match (place, target.form) {
            (Place::File(file), Form::Msccl) => target.write_msccl(checked, file)?,
            (Place::File(file), _) => target.write_text(checked, file)?,
            (Place::Folder(_there), _) => target.write_chakra(checked, bytes)?,
        };
        if json { out.json(&written) } else { out.line(&written.to_string()) }
    }
}

impl Target {
    fn write_text(&self, checked: &Checked, file: OutputFile) -> Result<Written, Failure> {
        file.write(checked.plan().text().to_string().as_bytes())?;
        Ok(Written { written: vec![self.path.display().to_string()], format: "plan", ..Written::default() })
    }

    /// Reads back what it writes, and proves that.
    fn write_msccl(&self, checked: &Checked, file: OutputFile) -> Result<Written, Failure> {
        let name = self.path.display();
        let text = msccl::write(checked, Protocol::Simple)?;
        let wrong = |what: String| Failure::new(FAILED, format!("{name} would not be right: {what}"));
        let document = Document::parse(&text).map_err(|error| wrong(error.to_string()))?;
        let buffered = document.plan(&text, Connections::Buffered).map_err(|error| wrong(error.to_string()))?;
        check(&buffered.plan).map_err(|flaw| wrong(flaw.to_string()))?;
        file.write(text.as_bytes())?;
        let (blocks, steps) = (document.thread_blocks(), document.steps());
        let written = vec![name.to_string()];
        Ok(Written { written, format: "msccl", bytes: None, thread_blocks: Some(blocks), steps: Some(steps) })
    }

    fn write_chakra(&self, checked: &Checked, bytes: u64) -> Result<Written, Failure> {
        let prefix = match self.path.extension() {
            Some(extension) if extension == "et" => self.path.with_extension(""),
            _ => self.path.join(checked.plan().algorithm.replace('/', "_")),
        };
        let traces = chakra::traces(checked, bytes, ELEMENT_BYTES)?;
        let mut written = Vec::new();
        for (rank, trace) in traces.iter().enumerate() {
            let mut name = prefix.clone().into_os_string();
            name.push(format!(".{rank}.et"));
            let path = Path::new(&name);
            fs::write(path, trace)
                .map_err(|error| Failure::new(FAILED, format!("cannot write {}: {error}", path.display())))?;
            written.push(path.display().to_string());
        }
        Ok(Written { written, format: "chakra", bytes: Some(bytes), ..Written::default() })
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
            write!(
                f,
                ", read back and proved: at most {} a GPU, {} a block",
                counted(blocks, "thread block"),
                counted(steps, "step")
            )?;
            if blocks > RCCL_BLOCKS || steps > RCCL_STEPS {
                write!(f, " (RCCL takes {RCCL_BLOCKS} and {RCCL_STEPS})")?;
            }
        }
        self.bytes.map_or(Ok(()), |bytes| write!(f, ", for a collective of {}", counted(bytes, "byte")))
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
