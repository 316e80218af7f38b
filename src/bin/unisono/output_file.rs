//! Files that a command is to write: opened before the work, so that none is done in vain.

use crate::failure::{BAD_ARGUMENTS, FAILED, Failure};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A file that can be written. What it held stays until something is written; if that never happens, a new one is gone again.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    file: File,
    is_new: bool,
    is_written: bool,
}

impl OutputFile {
    /// Opens what `option` names.
    ///
    /// # Errors
    /// If it can't be written there: a bad argument.
    pub fn open(option: &str, path: &Path) -> Result<OutputFile, Failure> {
        let is_new = fs::symlink_metadata(path).is_err();
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| Failure::new(BAD_ARGUMENTS, format!("{option}: {}", refusal(path, &error))))?;
        Ok(OutputFile { path: path.to_owned(), file, is_new, is_written: false })
    }

    /// Replaces what the file holds.
    ///
    /// # Errors
    /// If the device is full, for instance.
    pub fn write(self, bytes: &[u8]) -> Result<(), Failure> {
        self.write_with(|out| out.write_all(bytes))
    }

    /// The same with what `fill` writes.
    ///
    /// # Errors
    /// As [`OutputFile::write`].
    pub fn write_with(mut self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        self.is_written = true;
        let mut out = BufWriter::new(&self.file);
        let written = self.emptied().and_then(|()| fill(&mut out)).and_then(|()| out.flush());
        written.map_err(|error| Failure::new(FAILED, format!("cannot write {}: {error}", self.path.display())))
    }

    /// A device or a pipe holds nothing.
    fn emptied(&self) -> io::Result<()> {
        if self.file.metadata()?.is_file() { self.file.set_len(0) } else { Ok(()) }
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if self.is_new && !self.is_written {
            // Where it can't be removed it stays, empty.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why nothing can be written to a path, and what to do.
pub fn refusal(path: &Path, error: &io::Error) -> String {
    let name = path.display();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let shown = folder.display();
    match error.kind() {
        _ if path.as_os_str().is_empty() => "the name of a file is empty; give one".to_owned(),
        ErrorKind::NotFound if !folder.is_dir() => {
            format!("cannot write {name}: there is no folder {shown}; make it, or name another")
        }
        ErrorKind::NotADirectory => format!("cannot write {name}: {shown} is no folder; name another"),
        ErrorKind::IsADirectory => format!("cannot write {name}: it is a folder; name a file in it"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            format!("cannot write {name}: {error}; name a place where you may write")
        }
        _ => format!("cannot write {name}: {error}; name another file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_touched_only_when_it_is_written() {
        let folder = std::env::temp_dir().join(format!("unisono-output-file-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let [old, new] = ["old", "new"].map(|name| folder.join(name));
        fs::write(&old, "what it held before").expect("it is written");
        drop(OutputFile::open("--trace", &old).expect("it can be written"));
        drop(OutputFile::open("--trace", &new).expect("it can be written"));
        assert_eq!(fs::read_to_string(&old).expect("it is there"), "what it held before");
        assert!(!new.exists());
        for path in [&old, &new] {
            OutputFile::open("--trace", path).expect("it can be written").write(b"short").expect("it is");
            assert_eq!(fs::read(path).expect("it is there"), b"short");
        }
        OutputFile::open("--trace", Path::new("/dev/null")).expect("a device").write(b"gone").expect("it takes all");
        fs::remove_dir_all(&folder).expect("it was there");
    }
}
