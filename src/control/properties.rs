//! What must hold of control frames. See [`crate::fuzzing`].

use super::frame::{Frame, communicator_of};
use crate::bootstrap::MAX_PAYLOAD_BYTES;
#[cfg(test)]
use crate::error::ErrorKind;
use crate::fuzzing::{assert_one_sentence, peak_bytes};

/// A frame is nothing to us, or can be said again; what it makes a rank say in turn is short enough to be sent.
pub(crate) fn frame(bytes: &[u8]) {
    let (frame, peak) = peak_bytes(|| Frame::decode(bytes));
    assert!(peak <= 16 * bytes.len() + 4096, "{peak} bytes for a frame of {}", bytes.len());
    let communicator = communicator_of(bytes);
    let Some(frame) = frame else { return };
    let communicator = communicator.expect("a frame is for some communicator");
    let again = frame.encode(communicator);
    assert_eq!(Frame::decode(&again).as_ref(), Some(&frame));
    assert_eq!(communicator_of(&again), Some(communicator));
    if let Frame::Failed { error } = frame {
        let heard = error.into_error(7);
        assert_one_sentence(&heard.to_string(), bytes.len());
        let told = Frame::Failed { error: super::frame::Failure::of(&heard, 0) };
        assert!(told.encode(communicator).len() <= MAX_PAYLOAD_BYTES);
    }
}

/// What control planes say, by target and name.
#[cfg(test)]
pub(crate) fn recorded() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    use super::frame::{EnteredCall, Failure, Line};
    use crate::error::Error;
    let call = |sequence| EnteredCall { sequence, fingerprint: 7, text: "all_reduce f32 x 8 sum".to_owned() };
    let line = Line { entered: 9, finished: 8, calls: vec![call(9), call(8)], pid: 12 };
    let error = Error::new(ErrorKind::Timeout, "rank 3 is missing").with_peer(3).in_operation("all_reduce", 9);
    vec![
        ("control", "asked", Frame::Asked { sequence: 9 }.encode(42)),
        ("control", "at", Frame::At { line }.encode(42)),
        ("control", "failed", Frame::Failed { error: Failure::of(&error, 1) }.encode(42)),
        ("control", "left", Frame::Left.encode(42)),
    ]
}
