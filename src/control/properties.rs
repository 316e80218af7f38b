//! What must hold of what control planes say. See [`crate::fuzzing`].

use super::frame::{Failure, Line};
use crate::bootstrap::MAX_PAYLOAD_BYTES;
#[cfg(test)]
use crate::error::ErrorKind;
use crate::fuzzing::{assert_one_sentence, peak_bytes};

/// Bytes are nothing to us, or can be said again; what they make a rank say in turn is short enough to be sent.
pub(crate) fn frame(bytes: &[u8]) {
    let (told, peak) = peak_bytes(|| (Line::decode(bytes), Failure::decode(bytes)));
    assert!(peak <= 32 * bytes.len() + 4096, "{peak} bytes for a frame of {}", bytes.len());
    let (line, failure) = told;
    if let Some(line) = line {
        assert_eq!(Line::decode(&line.encode()), Some(line));
    }
    if let Some(failure) = failure {
        assert_eq!(Failure::decode(&failure.encode()).as_ref(), Some(&failure));
        let heard = failure.into_error(7);
        assert_one_sentence(&heard.to_string(), bytes.len());
        assert!(Failure::of(&heard, 0).encode().len() <= MAX_PAYLOAD_BYTES);
    }
}

/// What control planes say, by target and name.
#[cfg(test)]
pub(crate) fn recorded() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    use super::frame::EnteredCall;
    use crate::error::Error;
    let call = |sequence| EnteredCall { sequence, fingerprint: 7, text: "all_reduce f32 x 8 sum".to_owned() };
    let line =
        Line { entered: 9, finished: 8, calls: vec![call(9), call(8)], doing: Some("barrier".to_owned()), left: false };
    let error = Error::new(ErrorKind::Timeout, "rank 3 is missing").with_peer(3).in_operation("all_reduce", 9);
    vec![
        ("control", "line", line.encode()),
        ("control", "left", Line { left: true, calls: Vec::new(), ..line }.encode()),
        ("control", "failed", Failure::of(&error, 1).encode()),
    ]
}
