//! Every property over its files in `tests/fuzz/corpus`, and over what a rank really sends.

use super::*;
use std::path::{Path, PathBuf};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

/// The files to begin with: plans have theirs among the golden ones too.
fn corpus(target: &Target) -> Vec<PathBuf> {
    let mut corpus = files(&Path::new(TESTS).join("fuzz/corpus").join(target.name));
    if target.name == "plan" {
        corpus.extend(files(&Path::new(TESTS).join("golden")));
    }
    corpus
}

#[test]
fn every_file_of_the_corpus_keeps_its_property() {
    for target in TARGETS {
        let files = corpus(target);
        assert!(files.len() >= 2, "{} has nothing to begin with", target.name);
        for file in files {
            let bytes = std::fs::read(&file).expect("a file");
            let kept = std::panic::catch_unwind(|| (target.property)(&bytes));
            assert!(kept.is_ok(), "{} breaks the property of {}", file.display(), target.name);
        }
    }
}

/// The corpus begins with what is sent today. Run with `UNISONO_WRITE_GOLDEN=1` the files are written.
#[test]
fn recorded_frames_are_what_is_sent() {
    let recorded = [
        bootstrap::properties::recorded(),
        communicator::properties::recorded(),
        control::properties::recorded(),
        transport::properties::recorded(),
    ];
    for (target, name, bytes) in recorded.into_iter().flatten() {
        let file = Path::new(TESTS).join("fuzz/corpus").join(target).join(name);
        if std::env::var_os("UNISONO_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("it can be made");
            std::fs::write(&file, &bytes).expect("it can be written");
        }
        let found = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(found, bytes, "{}; UNISONO_WRITE_GOLDEN=1 writes it anew", file.display());
    }
}
