//! What must hold of whatever a stranger, a peer or a launcher says. See [`crate::fuzzing`].

use super::door::Door;
use super::environment::{Job, Meeting, first_node};
use super::message::{Answer, Control, Request};
use super::secret::{Challenge, Key, Refusal};
use super::socket::{Listener, Stream, Watch, wait};
use super::wire::{Inbox, MAX_FRAME_BYTES};
use crate::error::ErrorKind;
use crate::fuzzing::{assert_one_sentence, peak_bytes};
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Most that a parser may allocate for a body: what it says, in growing vectors of parts that are a few times as long in memory.
fn fair_bytes(body: &[u8]) -> usize {
    8 * body.len() + 1024
}

fn decoded<T, E>(body: &[u8], decode: impl FnOnce() -> Result<T, E>) -> Option<T> {
    let (decoded, peak) = peak_bytes(decode);
    assert!(peak <= fair_bytes(body), "{peak} bytes for a body of {}", body.len());
    decoded.ok()
}

/// A body of a frame is refused, or means something that can be said again.
pub(crate) fn message(body: &[u8]) {
    if body.len() > MAX_FRAME_BYTES / 2 {
        // Said again it may be longer: an address has several spellings.
        return;
    }
    if let Some(request) = decoded(body, || Request::decode(body)) {
        let frame = request.encode();
        assert!(frame.len() - 4 <= Request::MAX_BYTES);
        assert_eq!(Request::decode(&frame[4..]), Ok(request));
    }
    if let Some(answer) = decoded(body, || Answer::decode(body)) {
        assert_eq!(Answer::decode(&answer.encode()[4..]), Ok(answer));
    }
    if let Some(control) = decoded(body, || Control::decode(body)) {
        assert_eq!(Control::decode(&control.encode()[4..]), Ok(control.clone()));
    }
}

/// Bytes of a connection come in pieces of any size, and the frames in them are the same; what can't be a frame is noticed, and
/// no more is held than one frame and one read. The first byte is the length of the pieces.
pub(crate) fn inbox(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    let (mut near, far) = pair();
    let mut inbox = Inbox::default();
    let (mut sent, mut understood) = (0, 0);
    for piece in bytes.chunks(usize::from(piece) * 16 + 1) {
        assert_eq!(far.send(piece).ok(), Some(piece.len()));
        inbox.read_from(&mut near).expect("bytes have come");
        assert!(inbox.held_bytes() <= MAX_FRAME_BYTES + (32 << 10));
        sent += piece.len();
        loop {
            match (inbox.next_frame(), next_frame(&bytes[understood..sent])) {
                (Ok(None), Ok(None)) => break,
                (Ok(Some(body)), Ok(Some(expected))) => {
                    assert_eq!(body, expected);
                    understood += 4 + expected.len();
                }
                (Err(_), Err(())) => return,
                (found, expected) => panic!("{found:?} where {expected:?} stands"),
            }
        }
    }
}

/// The definition of a frame, naively.
fn next_frame(bytes: &[u8]) -> Result<Option<&[u8]>, ()> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_FRAME_BYTES { Err(()) } else { Ok(rest.get(..length)) }
}

fn pair() -> (Stream, Stream) {
    let (near, far) = std::os::unix::net::UnixStream::pair().expect("descriptors are left");
    for end in [&near, &far] {
        end.set_nonblocking(true).expect("a socket");
    }
    (Stream::Unix(near), Stream::Unix(far))
}

/// Nobody passes the challenge without the key, whatever they say and however they cut it; who has it passes.
///
/// The first byte says how: a talk with one byte changed (the second byte says in which pieces, the next three where and how), or
/// all the rest as the words of a stranger.
pub(crate) fn handshake(bytes: &[u8]) {
    let Some((&[how, piece], rest)) = bytes.split_first_chunk::<2>() else { return };
    let piece = usize::from(piece % 64) + 1;
    let key = Key::from_secret("notes");
    match (how % 3, rest) {
        (0, &[low, high, change, ..]) => {
            spoiled_talk(&key, piece, usize::from(u16::from_le_bytes([low, high])), change)
        }
        (1, words) => strange_talk(Challenge::acceptor(key).expect("random bytes"), words, piece),
        (2, words) => strange_talk(Challenge::dialer(key).expect("random bytes"), words, piece),
        _ => {}
    }
}

fn spoiled_talk(key: &Key, piece: usize, at: usize, change: u8) {
    let mut ends =
        [Challenge::dialer(key.clone()), Challenge::acceptor(key.clone())].map(|end| end.expect("random bytes"));
    let (mut position, mut was_changed) = (0, false);
    let mut talk = || -> Result<(), Refusal> {
        for turn in [0, 1, 0, 1] {
            let mut said = ends[turn].take_output();
            for byte in &mut said {
                if position == at {
                    *byte ^= change;
                    was_changed = change != 0;
                }
                position += 1;
            }
            for part in said.chunks(piece) {
                ends[1 - turn].feed(part)?;
            }
        }
        Ok(())
    };
    let ended = talk();
    assert_eq!(ended.is_err(), was_changed, "{ended:?}");
    assert_eq!(ends.iter().all(|end| end.wanted() == 0), !was_changed);
}

fn strange_talk(mut end: Challenge, words: &[u8], piece: usize) {
    let mut rest = words;
    while end.wanted() > 0 && !rest.is_empty() {
        let (part, after) = rest.split_at(piece.min(end.wanted()).min(rest.len()));
        rest = after;
        if end.feed(part).is_err() {
            return;
        }
    }
    assert!(end.wanted() > 0, "a stranger has passed");
}

/// Who has the key is let in with a first frame that can be read, and nothing behind it is touched; who sends another is shown out.
pub(crate) fn door(bytes: &[u8]) {
    if bytes.is_empty() || bytes.len() > MAX_FRAME_BYTES {
        return;
    }
    static DOORS: AtomicU64 = AtomicU64::new(0);
    let name = format!("unisono-door-{}-{}", std::process::id(), DOORS.fetch_add(1, Ordering::Relaxed));
    let listener = Listener::bind_abstract(name.as_bytes()).expect("a name of our own");
    let key = Key::from_secret("notes");
    let mut door = Door::new(vec![listener], key.clone());
    let caller = Stream::connect_abstract(name.as_bytes()).expect("it listens");
    let mut dialer = Challenge::dialer(key).expect("random bytes");
    let mut arrived = Vec::new();
    while dialer.wanted() > 0 {
        caller.send(&dialer.take_output()).expect("room for a preamble");
        arrived.extend(serve(&mut door));
        let mut said = [0; 64];
        let wanted = dialer.wanted();
        // The door's turn lets the caller in, the next one hears it.
        match read_some(&caller, &mut said[..wanted]) {
            0 => {}
            count => dialer.feed(&said[..count]).expect("the door knows the key"),
        }
    }
    caller.send(bytes).expect("room for a first frame");
    arrived.extend(serve(&mut door));
    let first = next_frame(bytes).ok().flatten().filter(|body| body.len() <= Request::MAX_BYTES);
    match (arrived.pop(), first.map(Request::decode)) {
        (Some((stream, request)), Some(Ok(expected))) => {
            assert_eq!(request, expected);
            let rest = &bytes[4 + first.map_or(0, <[u8]>::len)..];
            let mut left = vec![0; bytes.len() + 1];
            let count = read_some(&stream, &mut left);
            assert_eq!(&left[..count], rest, "what follows the first frame is another's to read");
        }
        (None, Some(Err(_)) | None) => {}
        (came, expected) => panic!("{:?} came in with {expected:?}", came.map(|(_, request)| request)),
    }
}

fn serve(door: &mut Door) -> Vec<(Stream, Request)> {
    let mut watches: Vec<Watch> = Vec::new();
    door.watch(&mut watches);
    let now = Instant::now();
    wait(&mut watches, Some(now + Duration::from_secs(10))).expect("poll works");
    door.serve(&watches, now).expect("random bytes")
}

fn read_some(stream: &Stream, into: &mut [u8]) -> usize {
    let read = match stream {
        Stream::Unix(stream) => (&mut &*stream).read(into),
        Stream::Tcp(stream) => (&mut &*stream).read(into),
    };
    match read {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        other => other.expect("the connection stands"),
    }
}

/// A job makes sense, or the variables that don't are told in one sentence.
pub(crate) fn job(lookup: &dyn Fn(&str) -> Option<String>, bytes: usize) {
    match Job::from_environment(lookup) {
        Ok(job) => {
            assert!(job.rank < job.size && job.size <= super::MAX_RANKS);
            assert!(job.local_size.is_none_or(|local| (1..=job.size).contains(&local)));
            if let (Some(rank), Some(size)) = (job.local_rank, job.local_size) {
                assert!(rank < size);
            }
            match job.meeting {
                Meeting::Alone => assert_eq!(job.size, 1),
                Meeting::Local(_) => assert!(job.size > 1),
                Meeting::Address { host, port } => {
                    assert!(job.size > 1 && port > 0 && !host.is_empty() && job.secret.is_some());
                }
            }
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert_one_sentence(&error.to_string(), bytes);
        }
    }
    if let Some(first) = lookup("SLURM_STEP_NODELIST").as_deref().and_then(first_node) {
        assert!(
            !first.is_empty() && !first.contains(['[', ']', ',']) && !first.contains(char::is_whitespace),
            "{first}"
        );
    }
}

/// What ranks say, by target and name.
#[cfg(test)]
pub(crate) fn recorded() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    use super::host::HostId;
    use super::message::{Card, Introduction, Verdict};
    use super::ranks::RankSet;
    use super::survey::{Answers, Question};
    let host = || HostId::named("6d1f0c1e-boot/4026531840").expect("a short name");
    let v4 = "10.1.2.3:41000".parse().expect("an address");
    let v6 = "[fe80::1%3]:65535".parse().expect("an address");
    let join = Request::Join(Introduction { rank: 3, size: 8, host: host(), pid: 77, address: v6 }).encode();
    let link = Request::Link { rank: 1 }.encode();
    let stream = Request::Stream { rank: 2, tag: [5; 16] }.encode();
    let handle = Request::Handle { rank: 0, tag: [6; 16] }.encode();
    let welcome = Answer::Welcome { nonce: [7; 32], neighbours: vec![(1, v4), (4, v6)] }.encode();
    let verdict = Verdict {
        kind: ErrorKind::Timeout,
        message: "ranks 1, 4-6 of 8 did not come".to_owned(),
        remedy: "give a longer timeout".to_owned(),
        peer: Some(1),
    };
    let refused = Answer::Refused(verdict).encode();
    let card = Card { rank: 2, host: host(), pid: 78, address: v4, hello: b"{\"version\":\"0.1.0\"}".to_vec() };
    let card = Control::Card(card).encode();
    let announced = Control::Announced { topic: 9, origin: 1, word: b"a word" }.encode();
    let question = Question { round: 2, sequence: 17 };
    let ranks: RankSet = [0, 1, 2, 66].into_iter().collect();
    let answered =
        Control::Answered(Answers { topic: 9, question, answer: b"in call 17"[..].into(), ranks: ranks.clone() });
    let answered = answered.encode();
    let lost = Control::Lost { ranks: RankSet::of(4), how: "its control connection closed".to_owned() }.encode();
    let left = Control::Left { ranks }.encode();
    let body = |frame: &[u8]| frame[4..].to_vec();
    vec![
        ("message", "join", body(&join)),
        ("message", "link", body(&link)),
        ("message", "stream", body(&stream)),
        ("message", "welcome", body(&welcome)),
        ("message", "refused", body(&refused)),
        ("message", "card", body(&card)),
        ("message", "announced", body(&announced)),
        ("message", "answered", body(&answered)),
        ("message", "lost", body(&lost)),
        ("message", "left", body(&left)),
        ("inbox", "one_by_one", [&[0][..], &card, &announced, &left].concat()),
        ("inbox", "in_pieces", [&[2][..], &lost, &card, &announced, &left].concat()),
        ("door", "join", join),
        ("door", "link_and_more", [link, left].concat()),
        ("door", "stream", stream),
        ("door", "handle", handle),
        ("handshake", "sound", vec![0, 6, 0, 0, 0]),
        ("handshake", "spoiled_version", vec![0, 63, 8, 0, 1]),
        ("handshake", "spoiled_proof", vec![0, 63, 100, 0, 1]),
        ("handshake", "to_acceptor", [&[1, 15][..], b"unisono\n\x01\0\0\0", &[9; 68]].concat()),
        ("handshake", "to_dialer", [&[2, 63][..], b"unisono\n\x01\0\0\0", &[9; 68]].concat()),
    ]
}
