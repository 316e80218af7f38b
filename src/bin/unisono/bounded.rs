//! Files of a command line, read up to a limit: a device or a pipe may never end.

use std::fs::File;
use std::io::{Error, Read};
use std::path::Path;

/// More than any machine, plan or list of rules takes, and little enough to hold.
const MOST_BYTES: u64 = 256 << 20;

/// What is in a file.
///
/// # Errors
/// If it can't be read, or is longer than `most` bytes or 256 MiB.
pub fn read(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let most = most.min(MOST_BYTES);
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Error::other(format!("it has more than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

/// The same as text.
///
/// # Errors
/// Besides, if it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> std::io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|_| Error::other("it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_refused() {
        let error = read(Path::new("/dev/zero"), 3 << 20).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 3 MiB");
        assert_eq!(read(Path::new("/dev/null"), 0).unwrap(), b"");
    }
}
