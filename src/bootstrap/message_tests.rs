use super::*;
use crate::bootstrap::wire::Inbox;
use proptest::prelude::*;

fn introduction() -> Introduction {
    Introduction {
        rank: 3,
        size: 8,
        host: HostId::named("a/b").unwrap(),
        pid: 77,
        address: "[::1]:4000".parse().unwrap(),
    }
}

fn card() -> Card {
    let Introduction { rank, host, pid, address, .. } = introduction();
    Card { rank, host, pid, address, hello: vec![9; MAX_PAYLOAD_BYTES] }
}

#[test]
fn every_message_comes_back_as_it_went() {
    let tag = [5; 16];
    for request in [
        Request::Join(introduction()),
        Request::Link { rank: 1 },
        Request::Stream { rank: 2, tag },
        Request::Handle { rank: 3, tag },
    ] {
        let frame = request.encode();
        assert!(frame.len() - 4 <= Request::MAX_BYTES);
        assert_eq!(Request::decode(&frame[4..]), Ok(request));
    }
    let address = "10.1.2.3:65535".parse().unwrap();
    let verdict = |peer| Verdict { kind: ErrorKind::Timeout, message: "m".into(), remedy: "r".into(), peer };
    for answer in [
        Answer::Welcome { nonce: [7; 32], neighbours: vec![(1, address), (4, address)] },
        Answer::Refused(verdict(Some(2))),
        Answer::Refused(verdict(None)),
    ] {
        assert_eq!(Answer::decode(&answer.encode()[4..]), Ok(answer));
    }
    let word = vec![1; MAX_PAYLOAD_BYTES];
    let ranks: RankSet = [0, 5, MAX_RANKS - 1].into_iter().collect();
    let question = Question { round: u64::MAX, sequence: 3 };
    for control in [
        Control::Card(card()),
        Control::Announced { topic: u64::MAX, origin: 2, word: &word },
        Control::Answered(Answers {
            topic: 7,
            question,
            answer: vec![2; MAX_ANSWER_BYTES].into(),
            ranks: ranks.clone(),
        }),
        Control::Lost { ranks: ranks.clone(), how: "gone".into() },
        Control::Left { ranks },
    ] {
        assert_eq!(Control::decode(&control.encode()[4..]), Ok(control.clone()));
    }
}

#[test]
fn what_is_too_long_is_cut_when_sent_and_refused_when_received() {
    let lost = Control::Lost { ranks: RankSet::of(0), how: "ö".repeat(1000) };
    let Control::Lost { how, .. } = Control::decode(&lost.encode()[4..]).unwrap() else { panic!("another message") };
    assert_eq!(how, "ö".repeat(128));
    let mut frame = Control::Left { ranks: RankSet::of(1) }.encode();
    frame.push(0);
    assert_eq!(Control::decode(&frame[4..]), Err(Malformed), "nothing may follow");
    let mut inbox = Inbox::default();
    inbox.push(&u32::MAX.to_le_bytes());
    assert_eq!(inbox.next_frame(), Err(Malformed));
}

/// Bytes that begin like a message, so that the parsers are entered deeply.
fn nearly_a_message() -> impl Strategy<Value = Vec<u8>> {
    let bodies: Vec<Vec<u8>> = vec![
        Request::Join(introduction()).encode(),
        Answer::Welcome { nonce: [1; 32], neighbours: vec![(1, introduction().address)] }.encode(),
        Control::Lost { ranks: RankSet::of(4), how: "gone".into() }.encode(),
        Control::Card(Card { hello: vec![1, 2, 3], ..card() }).encode(),
        Control::Announced { topic: 1, origin: 2, word: b"xy" }.encode(),
        Control::Answered(Answers {
            topic: 1,
            question: Question { round: 2, sequence: 3 },
            answer: b"xy"[..].into(),
            ranks: RankSet::of(4),
        })
        .encode(),
    ];
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (prop::sample::select(bodies), prop::collection::vec(change, 0..4), any::<prop::sample::Index>()).prop_map(
        |(mut bytes, changes, cut)| {
            bytes.drain(..4);
            for (index, value) in changes {
                let index = index.index(bytes.len());
                bytes[index] = value;
            }
            bytes.truncate(1 + cut.index(bytes.len()));
            bytes
        },
    )
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(body in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), nearly_a_message()]) {
        let _ = Request::decode(&body);
        let _ = Answer::decode(&body);
        let _ = Control::decode(&body);
    }

    #[test]
    fn no_bytes_make_an_inbox_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
        let mut inbox = Inbox::default();
        for piece in pieces {
            inbox.push(&piece);
            while let Ok(Some(_)) = inbox.next_frame() {}
        }
    }

    #[test]
    fn frames_come_out_of_any_pieces(piece in 1usize..40, count in 0usize..6) {
        let frame = Control::Lost { ranks: RankSet::of(4), how: "gone".into() }.encode();
        let stream = frame.repeat(count);
        let mut inbox = Inbox::default();
        let mut seen = 0;
        for bytes in stream.chunks(piece) {
            inbox.push(bytes);
            while let Some(body) = inbox.next_frame().unwrap() {
                prop_assert_eq!(body, &frame[4..]);
                seen += 1;
            }
        }
        prop_assert_eq!(seen, count);
    }
}
