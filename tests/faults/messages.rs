//! Sends and receives that can't succeed: peer, message and what the peer does instead are named.

use super::process::{expect_all, start, tell_all};
use super::{NO_HANG, names_rank};
use std::sync::Barrier;
use std::time::Duration;
use unisono::{Communicator, Error, ErrorKind, Options};

fn pair() -> [Communicator; 2] {
    let world = Communicator::builder().timeout(NO_HANG).local(2).unwrap();
    world.try_into().unwrap_or_else(|_| unreachable!("two were asked for"))
}

/// Runs one body per rank in a thread of its own; the errors of both.
fn both(
    first: impl FnOnce(&mut Communicator) -> Result<(), Error> + Send,
    second: impl FnOnce(&mut Communicator) -> Result<(), Error> + Send,
) -> [Error; 2] {
    let [mut zero, mut one] = pair();
    std::thread::scope(|threads| {
        let one = threads.spawn(move || second(&mut one).expect_err("it can't succeed"));
        [first(&mut zero).expect_err("it can't succeed"), one.join().expect("no panic")]
    })
}

fn soon() -> Options {
    Options { timeout: Some(Duration::from_millis(300)), ..Options::default() }
}

#[test]
fn ranks_that_wait_for_each_other_learn_so() {
    let errors = both(
        |communicator| {
            // Rank 1 goes first, so that its receive is there to be told.
            std::thread::sleep(Duration::from_millis(100));
            communicator.with(soon()).recv(&mut [0f32; 10], 1)
        },
        |communicator| communicator.recv(&mut [0u8; 7], 0),
    );
    for error in errors {
        assert!(error.is_timeout(), "{error}");
        assert_eq!((error.operation(), error.sequence(), error.peer()), (Some("recv"), Some(1), Some(1)), "{error}");
        let text = "rank 0's recv f32 x 10 from rank 1 (message 1 of the pair) was not done within 300ms: \
                    rank 1 is in recv u8 x 7 from rank 0 (message 1 of the pair)";
        assert_eq!(error.message(), text);
    }
}

#[test]
fn a_message_that_nobody_receives_is_numbered_among_those_of_its_way() {
    let data = vec![1i64; 100_000];
    let barrier = Barrier::new(2);
    let errors = both(
        |communicator| {
            communicator.group(|group| (0..3).for_each(|_| group.send(&data[..5], 1)))?;
            let result = communicator.with(soon()).send(&data, 1);
            let last = communicator.recent_operations().pop().expect("there was one");
            assert_eq!((last.operation, last.sequence, last.bytes), ("send", 4, 800_000));
            assert!(last.failed_at_step == Some(0) && last.failed_after_bytes < Some(800_000), "{last:?}");
            barrier.wait();
            result
        },
        |communicator| {
            let mut data = [0i64; 5];
            (0..3).try_for_each(|_| communicator.recv(&mut data, 0))?;
            barrier.wait();
            communicator.recv(&mut data, 0)
        },
    );
    let [sender, _] = &errors;
    assert!(sender.message().contains("rank 0's send i64 x 100000 to rank 1 (message 4 of the pair)"), "{sender}");
    assert!(sender.message().ends_with("rank 1 is in no call"), "{sender}");
    assert!(sender.to_string().contains("(on rank 0, in send #4, step 0 after"), "{sender}");
    assert!(sender.to_string().contains("look at what rank 1 does"), "{sender}");
}

type Receive = fn(&mut Communicator) -> Result<(), Error>;

#[test]
fn a_message_of_another_type_or_length_is_named_on_both_sides() {
    let cases: [(&str, Receive); 3] = [
        ("another type", |communicator| communicator.recv(&mut [0f64; 10], 0)),
        ("a shorter one", |communicator| communicator.recv(&mut [0f32; 9], 0)),
        ("a longer one", |communicator| communicator.recv(&mut [0f32; 5000], 0)),
    ];
    for (what, receive) in cases {
        let sender = |communicator: &mut Communicator| {
            communicator.send(&[1f32; 10], 1)?;
            // It may have been sent before it was received; the next call knows.
            communicator.recv(&mut [0u8], 1)
        };
        for error in both(sender, receive) {
            assert!(error.is_mismatch(), "{what}: {error}");
            assert!(error.message().contains("from rank 0 (message 1 of the pair) does not fit"), "{what}: {error}");
            assert!(error.message().ends_with("what rank 0 sends, f32 x 10"), "{what}: {error}");
            assert!(error.to_string().contains("as many elements of the same type"), "{what}: {error}");
        }
    }
}

#[test]
fn what_cannot_be_right_is_refused_and_changes_nothing() {
    let [mut zero, mut one] = pair();
    let (data, mut back) = ([1u8; 4], [0u8; 3]);
    let algorithm = Options::default().algorithm("ring");
    let refused = [
        zero.send(&data, 2),
        zero.group(|group| group.send(&data, 0)),
        zero.group(|group| {
            group.send(&data, 0);
            group.recv(&mut back, 0);
        }),
        zero.with(algorithm).send(&data, 1),
    ];
    assert!(refused.iter().all(|one| matches!(one, Err(error) if error.kind() == ErrorKind::InvalidArgument)));
    std::thread::scope(|threads| {
        threads.spawn(|| zero.send(&data[..3], 1).unwrap());
        one.recv(&mut back, 0).unwrap();
    });
    assert_eq!(back, [1; 3]);
}

#[test]
fn a_stopped_peer_is_named_with_the_message() {
    for transport in ["shm", "tcp"] {
        let mut processes = start(3, &[("UNISONO_TRANSPORT", transport)]);
        tell_all(&mut processes, "repeat 2 send_recv f32 sum 10 0");
        expect_all(&processes, "ok");
        processes[1].stop();
        processes[2].tell("timeout 1500");
        processes[2].tell("call recv f32 sum 10 1");
        let failed = processes[2].failed();
        assert_eq!(failed.kind, "timeout", "{failed:?}");
        let text = "rank 2's recv f32 x 10 from rank 1 (message 3 of the pair) was not done within 1.5s: \
                    rank 1 did not answer (stopped, or cut off) (on rank 2, in recv #3,";
        assert!(failed.message.starts_with(text), "{transport}: {failed:?}");
        processes[1].signal(libc::SIGCONT);
        processes.into_iter().for_each(|process| process.end());
    }
}

#[test]
fn a_peer_that_leaves_is_named_and_nobody_waits_for_the_timeout() {
    for transport in ["shm", "tcp"] {
        for earlier in [0, 1] {
            let mut processes = start(2, &[("UNISONO_TRANSPORT", transport), ("UNISONO_TIMEOUT", "300")]);
            tell_all(&mut processes, &format!("repeat {earlier} send_recv f32 sum 10 0"));
            expect_all(&processes, "ok");
            processes.pop().expect("two").end();
            processes[0].tell("call recv f32 sum 10 1");
            let failed = processes[0].failed();
            assert!(failed.kind == "peer_lost" && names_rank(&failed.message, 1), "{transport}: {failed:?}");
            assert!(failed.message.contains(&format!("in recv #{}", earlier + 1)), "{transport}: {failed:?}");
            processes.into_iter().for_each(|process| process.end());
        }
    }
}
