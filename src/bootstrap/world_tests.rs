//! Whole jobs, their ranks played by threads.

use super::door::Door;
use super::message::Answer;
use super::rendezvous::hex;
use super::secret::{Challenge, random};
use super::socket::{Listener, wait};
use super::wire::write_all;
use super::world::handle_name;
use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

pub(super) const LONG: Duration = Duration::from_secs(60);

pub(super) fn soon() -> Instant {
    Instant::now() + LONG
}

fn in_ms(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

pub(super) fn unique() -> String {
    hex(&random().unwrap())
}

/// The environment of one job, its ranks' own variables aside.
#[derive(Clone)]
struct Environment(HashMap<String, String>);

impl Environment {
    /// A job of one host without a secret.
    fn local() -> Environment {
        Environment(HashMap::new()).set("UNISONO_JOB_ID", &unique())
    }

    /// A job that meets at a TCP port with a secret.
    fn tcp(port: u16) -> Environment {
        let environment = Environment(HashMap::new()).set("UNISONO_SECRET", &unique());
        environment.set("MASTER_ADDR", "127.0.0.1").set("MASTER_PORT", &port.to_string())
    }

    fn set(mut self, name: &str, value: &str) -> Environment {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    fn job(&self, rank: Rank, size: usize) -> Job {
        let own = self.clone().set("RANK", &rank.to_string()).set("WORLD_SIZE", &size.to_string());
        Job::from_environment(&|name| own.0.get(name).cloned()).unwrap()
    }

    fn join(&self, rank: Rank, size: usize, deadline: Instant) -> Result<Arc<World>> {
        World::join(&self.job(rank, size), format!("hello of {rank}").as_bytes(), deadline)
    }

    /// All ranks as threads.
    fn join_all(&self, size: usize) -> Vec<Arc<World>> {
        let ranks: Vec<Rank> = (0..size).collect();
        self.join_some(&ranks, size, soon()).into_iter().map(|world| world.unwrap()).collect()
    }

    fn join_some(&self, ranks: &[Rank], size: usize, deadline: Instant) -> Vec<Result<Arc<World>>> {
        thread::scope(|scope| {
            let threads: Vec<_> =
                ranks.iter().map(|rank| scope.spawn(move || self.join(*rank, size, deadline))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }
}

/// A port that was free a moment ago, below those that the kernel gives out by itself.
fn free_port() -> u16 {
    loop {
        let [low, high, ..] = random().unwrap();
        let port = 15_000 + u16::from_le_bytes([low, high]) % 15_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Runs one closure per world at the same time.
fn on_each<T: Send>(worlds: &[Arc<World>], run: impl Fn(&World) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let threads: Vec<_> = worlds.iter().map(|world| scope.spawn(|| run(world))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Word(Rank, u64, Vec<u8>),
    Answer(Vec<u8>, RankSet),
    Lost(Rank),
    Left(Rank),
}

struct Listening(Sender<Heard>);

impl ControlSink for Listening {
    fn announced(&self, origin: Rank, topic: u64, word: &[u8]) {
        let _ = self.0.send(Heard::Word(origin, topic, word.to_vec()));
    }
    fn asked(&self, topic: u64, sequence: u64) -> Vec<u8> {
        answer_to(topic, sequence)
    }
    fn answered(&self, _topic: u64, round: u64, answer: &[u8], ranks: &RankSet) {
        assert_eq!(round, 1);
        let _ = self.0.send(Heard::Answer(answer.to_vec(), ranks.clone()));
    }
    fn lost(&self, rank: Rank, _how: &str) {
        let _ = self.0.send(Heard::Lost(rank));
    }
    fn left(&self, rank: Rank) {
        let _ = self.0.send(Heard::Left(rank));
    }
}

fn answer_to(topic: u64, sequence: u64) -> Vec<u8> {
    format!("{topic}: {sequence}").into_bytes()
}

fn listen(world: &World) -> Receiver<Heard> {
    let (sender, receiver) = channel();
    world.set_sink(Arc::new(Listening(sender)));
    receiver
}

#[test]
fn worlds_of_any_size_know_everyone() {
    for (size, environment) in [
        (1, Environment::local()),
        (2, Environment::local()),
        (3, Environment::tcp(free_port())),
        (5, Environment::local()),
    ]
    .into_iter()
    .chain([(8, Environment::tcp(free_port())), (16, Environment::local()), (33, Environment::local())])
    {
        let worlds = environment.join_all(size);
        for (rank, world) in worlds.iter().enumerate() {
            assert_eq!((world.rank(), world.size()), (rank, size));
            for other in 0..size {
                let peer = world.peer(other);
                assert_eq!((peer.rank, peer.pid), (other, std::process::id()));
                assert_eq!(peer.hello, format!("hello of {other}").into_bytes());
                assert_eq!(peer.host, HostId::of_this_host().unwrap());
                assert!(peer.address.ip().is_loopback());
            }
        }
    }
}

#[test]
fn a_job_can_meet_again_and_again_at_the_same_place() {
    for environment in [Environment::local(), Environment::tcp(free_port())] {
        for _ in 0..5 {
            environment.join_all(4);
        }
    }
}

#[test]
fn the_largest_hello_arrives_and_a_larger_one_is_refused() {
    let environment = Environment::local();
    let hello = vec![7; MAX_PAYLOAD_BYTES];
    thread::scope(|scope| {
        for rank in 0..5 {
            let (environment, hello) = (&environment, &hello);
            scope.spawn(move || {
                let world = World::join(&environment.job(rank, 5), hello, soon()).unwrap();
                assert!((0..5).all(|other| world.peer(other).hello == *hello));
            });
        }
    });
    let error = World::join(&environment.job(0, 1), &vec![0; MAX_PAYLOAD_BYTES + 1], soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn an_announcement_reaches_everyone_once() {
    let worlds = Environment::local().join_all(13);
    let ears: Vec<_> = worlds.iter().map(|world| listen(world)).collect();
    const EACH: u64 = 50;
    let topic = |rank: Rank, number| rank as u64 * EACH + number;
    on_each(&worlds, |world| {
        (0..EACH).for_each(|number| world.announce(topic(world.rank(), number), &number.to_le_bytes()))
    });
    for (rank, ear) in ears.iter().enumerate() {
        let mut heard = HashMap::new();
        for _ in 0..12 * EACH {
            let Heard::Word(origin, topic, word) = ear.recv_timeout(LONG).unwrap() else { panic!("nobody is gone") };
            assert_eq!(heard.insert(topic, (origin, word)), None, "twice at {rank}");
        }
        let all = (0..13).filter(|origin| *origin != rank);
        let all = all.flat_map(|origin| (0..EACH).map(move |number| (origin, number)));
        let all = all.map(|(origin, number)| (topic(origin, number), (origin, number.to_le_bytes().to_vec())));
        assert_eq!(heard, all.collect(), "at {rank}");
    }
}

#[test]
fn of_a_topic_nobody_hears_two_words_and_everybody_one() {
    let worlds = Environment::local().join_all(33);
    let ears: Vec<_> = worlds.iter().map(|world| listen(world)).collect();
    // Rank 0 says nothing, so it hears what came first to it.
    on_each(&worlds[1..], |world| world.announce(7, &[world.rank() as u8]));
    let Heard::Word(origin, 7, word) = ears[0].recv_timeout(LONG).unwrap() else { panic!("nobody is gone") };
    assert_eq!(word, [origin as u8]);
    worlds[0].announce(8, b"end");
    for ear in &ears[1..] {
        let mut before = 0;
        while ear.recv_timeout(LONG).unwrap() != Heard::Word(0, 8, b"end".to_vec()) {
            before += 1;
        }
        assert!(before <= 1, "{before} words on a topic");
    }
}

#[test]
fn answers_of_all_reach_everyone() {
    let worlds = Environment::local().join_all(20);
    let ears: Vec<_> = worlds.iter().map(|world| listen(world)).collect();
    let ask = |world: &World| world.ask(3, 17, &answer_to(3, 17), LONG);
    assert!(on_each(&worlds, ask).into_iter().all(|round| round == 1), "all ask the same");
    for (rank, ear) in ears.iter().enumerate() {
        let mut answered = RankSet::of(rank);
        while answered.iter().count() < 20 {
            let Heard::Answer(answer, ranks) = ear.recv_timeout(LONG).unwrap() else { panic!("nobody is gone") };
            assert_eq!(answer, answer_to(3, 17));
            assert_eq!(ranks.minus(&answered), ranks, "nobody answers twice, at {rank}");
            answered.add(&ranks);
        }
    }
}

#[test]
fn streams_that_are_refused_end() {
    let worlds = Environment::local().join_all(2);
    let tag = |family: u64| {
        let mut tag = [1; 16];
        tag[..8].copy_from_slice(&family.to_le_bytes());
        tag
    };
    // One that is there already, and one that comes later.
    let mut early = worlds[0].open_stream(1, tag(5), soon()).unwrap();
    let other = worlds[0].open_stream(1, tag(6), soon()).unwrap();
    worlds[1].open_stream(0, tag(6), soon()).unwrap();
    worlds[1].refuse_streams(5);
    let mut late = worlds[0].open_stream(1, tag(5), soon()).unwrap();
    for stream in [&mut early, &mut late] {
        stream.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    drop(other);
}

#[test]
fn what_comes_before_the_sink_is_kept_for_it() {
    let worlds = Environment::local().join_all(3);
    worlds[0].announce(1, b"early");
    let witness = listen(&worlds[2]);
    assert_eq!(witness.recv_timeout(LONG).unwrap(), Heard::Word(0, 1, b"early".to_vec()));
    worlds[2].die();
    let ear = listen(&worlds[1]);
    let mut heard = vec![ear.recv_timeout(LONG).unwrap(), ear.recv_timeout(LONG).unwrap()];
    heard.sort_by_key(|heard| matches!(heard, Heard::Lost(_)));
    assert_eq!(heard, [Heard::Word(0, 1, b"early".to_vec()), Heard::Lost(2)]);
}

#[test]
fn a_death_is_seen_by_all_once_and_a_goodbye_is_none() {
    for size in [2, 3, 7, 16] {
        let worlds = Environment::local().join_all(size);
        let ears: Vec<_> = worlds.iter().map(|world| listen(world)).collect();
        let victim = size / 2;
        worlds[victim].die();
        for (rank, ear) in ears.iter().enumerate().filter(|(rank, _)| *rank != victim) {
            assert_eq!(ear.recv_timeout(LONG).unwrap(), Heard::Lost(victim), "at {rank}");
            let error = worlds[rank].open_stream(victim, [0; 16], soon()).unwrap_err();
            assert_eq!((error.kind(), error.peer()), (ErrorKind::PeerLost, Some(victim)));
            assert!(error.to_string().contains(&format!("rank {victim}")), "{error}");
        }
        let survivors: Vec<_> = (0..size).filter(|rank| *rank != victim).collect();
        let (first, rest) = survivors.split_first().unwrap();
        worlds[*first].leave();
        for rank in rest {
            assert_eq!(ears[*rank].recv_timeout(LONG).unwrap(), Heard::Left(*first), "at {rank}");
        }
        drop(worlds);
        for ear in &ears {
            assert!(ear.iter().all(|heard| matches!(heard, Heard::Left(_))), "nobody else is lost, nor twice");
        }
    }
}

#[test]
fn streams_carry_bytes_both_ways_between_every_two() {
    let worlds = Environment::tcp(free_port()).join_all(4);
    on_each(&worlds, |world| {
        for other in (0..4).filter(|other| *other != world.rank()) {
            let pair = (world.rank().min(other), world.rank().max(other));
            let tag = [(pair.0 * 4 + pair.1) as u8; 16];
            let mut stream = world.open_stream(other, tag, soon()).unwrap();
            assert!(stream.nodelay().unwrap());
            stream.write_all(&[world.rank() as u8]).unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [other as u8]);
        }
    });
    let error = worlds[1].open_stream(0, [9; 16], in_ms(20)).unwrap_err();
    assert_eq!((error.kind(), error.peer()), (ErrorKind::Timeout, Some(0)));
    for nobody in [1, 4] {
        assert_eq!(worlds[1].open_stream(nobody, [0; 16], soon()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn one_file_is_shared_by_a_group() {
    let worlds = Environment::local().join_all(5);
    let group = [3, 0, 4];
    let files = on_each(&worlds, |world| {
        let own = (world.rank() == 3).then(|| OwnedFd::from(memory_file()));
        group
            .contains(&world.rank())
            .then(|| File::from(world.share_fd(&group, [1; 16], own, soon(), &|| None).unwrap()))
    });
    let mut files: Vec<File> = files.into_iter().flatten().collect();
    files[0].write_all(b"one file").unwrap();
    for file in &mut files {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one file");
    }
    for (group, gives) in
        [(vec![1, 2], true), (vec![0, 1], false), (vec![0, 0], true), (vec![0, 5], true), (vec![], false)]
    {
        let own = gives.then(|| OwnedFd::from(memory_file()));
        let error = worlds[0].share_fd(&group, [1; 16], own, soon(), &|| None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{group:?}");
    }
    let error = worlds[1].share_fd(&[0, 1], [2; 16], None, in_ms(20), &|| None).unwrap_err();
    assert_eq!((error.kind(), error.peer()), (ErrorKind::Timeout, Some(0)));
}

#[test]
fn a_file_that_will_not_come_is_not_waited_for() {
    let worlds = Environment::local().join_all(3);
    let failed = || Some(Error::new(ErrorKind::Resource, "rank 2 has no file descriptor left"));
    let begun = Instant::now();
    // The giver waits for one that never calls, then a taker for a giver that never does.
    let own = Some(memory_file().into());
    let told = worlds[0].share_fd(&[0, 1], [1; 16], own, soon(), &failed).unwrap_err();
    assert_eq!(told.message(), failed().unwrap().message());
    let told = worlds[1].share_fd(&[0, 1], [2; 16], None, soon(), &failed).unwrap_err();
    assert_eq!(told.message(), failed().unwrap().message());
    // Nor is it where a member is lost that neither gives to this rank nor takes from it.
    worlds[2].die();
    let told = worlds[1].share_fd(&[0, 1, 2], [3; 16], None, soon(), &|| None).unwrap_err();
    assert_eq!((told.kind(), told.peer()), (ErrorKind::PeerLost, Some(2)));
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
}

#[test]
fn hosts_by_name_keep_files_apart() {
    let environment = Environment::local();
    let worlds = thread::scope(|scope| {
        let threads = [0, 1].map(|rank| {
            let environment = environment.clone().set("UNISONO_HOST_ID", &format!("host {rank}"));
            scope.spawn(move || environment.join(rank, 2, soon()).unwrap())
        });
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(worlds[0].peer(1).host, HostId::named("host 1").unwrap());
    let error = worlds[0].share_fd(&[0, 1], [0; 16], Some(memory_file().into()), soon(), &|| None).unwrap_err();
    assert!(error.message().contains("another host"), "{error}");
}

/// A file that no name stands for.
fn memory_file() -> File {
    // SAFETY: the name is a C string; the descriptor returned is new and owned by nobody else.
    unsafe {
        let fd = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    }
}

#[test]
fn ranks_that_do_not_come_are_named() {
    let results = Environment::local().join_some(&[0, 2, 3], 8, in_ms(1500));
    let errors: Vec<Error> = results.into_iter().map(|result| result.unwrap_err()).collect();
    for error in &errors {
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.message().starts_with("ranks 1, 4-7 of 8 did not come to "), "{error}");
        assert_eq!(error.peer(), Some(1));
    }
    assert_eq!(errors.iter().map(|error| error.rank()).collect::<Vec<_>>(), [Some(0), Some(2), Some(3)]);
    let error = Environment::local().join(1, 2, in_ms(50)).unwrap_err();
    assert!(error.is_timeout() && error.message().contains("rank 0 could not be reached"), "{error}");
}

#[test]
fn a_rank_that_leaves_before_all_have_come_is_named() {
    let environment = Environment::local();
    thread::scope(|scope| {
        let host = scope.spawn(|| environment.join(0, 3, soon()));
        let visitor = scope.spawn(|| environment.join(1, 3, in_ms(1500)));
        assert!(visitor.join().unwrap().unwrap_err().is_timeout());
        let error = host.join().unwrap().unwrap_err();
        assert!(error.is_peer_lost() && error.message().contains("rank 1 ended or gave up before rank 2"), "{error}");
    });
}

#[test]
fn a_port_in_use_is_one_sentence_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Environment::tcp(address.port()).join(0, 2, soon()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{address} is in use")) && error.contains("another MASTER_PORT"), "{error}");
    let error = Environment::tcp(4000).set("MASTER_ADDR", "192.0.2.1").join(0, 2, soon()).unwrap_err().to_string();
    assert!(error.contains("can't listen on 192.0.2.1:4000") && error.contains("set MASTER_ADDR"), "{error}");
}

#[test]
fn a_rank_that_is_there_twice_or_counts_otherwise_fails_all() {
    let twins = Environment::local();
    let errors = twins.join_some(&[0, 1, 1, 2], 4, soon());
    for error in errors.into_iter().map(|result| result.unwrap_err()) {
        assert_eq!(error.kind(), ErrorKind::Rendezvous);
        assert!(error.message().starts_with("two processes are rank 1: rank 1 (pid "), "{error}");
    }
    let environment = Environment::local();
    thread::scope(|scope| {
        let (places, environment) = ([(0, 3), (1, 3), (2, 4)], &environment);
        let threads = places.map(|(rank, size)| scope.spawn(move || environment.join(rank, size, soon())));
        for thread in threads {
            let error = thread.join().unwrap().unwrap_err();
            assert!(error.message().contains("says 3 ranks, rank 2"), "{error}");
        }
    });
}

#[test]
fn a_rank_that_comes_after_the_failure_still_hears_why() {
    let environment = &Environment::local();
    thread::scope(|scope| {
        let first: Vec<_> = [0, 1, 1].map(|rank| scope.spawn(move || environment.join(rank, 4, soon()))).into();
        let mut first = first.into_iter();
        let host = first.next().unwrap();
        // When both of these have heard, rank 0 has failed and waits for late ranks.
        for twin in first {
            assert_eq!(twin.join().unwrap().unwrap_err().kind(), ErrorKind::Rendezvous);
        }
        for late in [2, 3] {
            let error = environment.join(late, 4, soon()).unwrap_err();
            assert!(error.message().starts_with("two processes are rank 1"), "{error}");
            assert_eq!(error.rank(), Some(late));
        }
        assert_eq!(host.join().unwrap().unwrap_err().rank(), Some(0));
    });
}

#[test]
fn another_secret_is_no_way_in() {
    let environment = Environment::tcp(free_port());
    let stranger = environment.clone().set("UNISONO_SECRET", "guessed");
    thread::scope(|scope| {
        let host = scope.spawn(|| environment.join(0, 2, soon()));
        let error = stranger.join(1, 2, soon()).unwrap_err();
        assert!(error.to_string().contains("the same UNISONO_SECRET"), "{error}");
        let rank = environment.join(1, 2, soon()).unwrap();
        assert_eq!(host.join().unwrap().unwrap().size(), rank.size());
    });
}

/// Everything that may knock at a port that is not its own. The connections stay open while the result lives.
fn strangers(address: SocketAddr) -> Vec<TcpStream> {
    let knock = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        // Who is turned away at once may not even get to send.
        let _ = stream.write_all(bytes);
        stream
    };
    let mut dialer = Challenge::dialer(Key::from_secret("wrong")).unwrap();
    let preamble = dialer.take_output();
    let mut impostor = preamble.clone();
    impostor.extend_from_slice(&[1; 32]);
    let mut known: Vec<TcpStream> =
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &preamble[..20], &preamble, &impostor]
            .into_iter()
            .map(knock)
            .collect();
    known.extend((0..300).map(|_| knock(b"")));
    drop(knock(b"unisono"));
    known
}

#[test]
fn strangers_at_the_meeting_point_hold_nobody_up() {
    let port = free_port();
    let environment = Environment::tcp(port);
    thread::scope(|scope| {
        let host = scope.spawn(|| environment.join(0, 3, soon()));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        while TcpStream::connect(address).is_err() {
            thread::yield_now();
        }
        let _strangers = strangers(address);
        let others = environment.join_some(&[1, 2], 3, soon());
        assert!(others.iter().all(|world| world.is_ok()), "{others:?}");
        host.join().unwrap().unwrap();
    });
}

#[test]
fn a_welcome_among_ranks_that_do_not_exist_is_refused() {
    let port = free_port();
    let environment = Environment::tcp(port);
    let key = environment.job(0, 2).secret.unwrap();
    let listener = Listener::bind_tcp(([127, 0, 0, 1], port).into()).unwrap();
    thread::scope(|scope| {
        let rank = scope.spawn(|| environment.join(1, 2, soon()).unwrap_err());
        let mut door = Door::new(vec![listener], key);
        let stream = loop {
            let mut watches = Vec::new();
            door.watch(&mut watches);
            wait(&mut watches, Some(soon())).unwrap();
            if let Some((stream, _)) = door.serve(&watches, Instant::now()).unwrap().pop() {
                break stream;
            }
        };
        let neighbours = vec![(7, stream.local_address().unwrap())];
        write_all(&stream, &Answer::Welcome { nonce: [1; 32], neighbours }.encode(), soon()).unwrap();
        let error = rank.join().unwrap();
        assert_eq!((error.kind(), error.peer()), (ErrorKind::Rendezvous, Some(0)), "{error}");
    });
}

#[test]
fn strangers_at_a_running_job_hold_nobody_up() {
    let worlds = Environment::local().join_all(3);
    let _strangers = strangers(worlds[1].peer(2).address);
    let name = handle_name(&worlds[0].several().session, 2);
    let _silent = UnixStream::connect_addr(&UnixAddr::from_abstract_name(name).unwrap()).unwrap();
    let ear = listen(&worlds[1]);
    on_each(&worlds, |world| {
        let own = (world.rank() == 2).then(|| OwnedFd::from(memory_file()));
        world.share_fd(&[2, 0, 1], [3; 16], own, soon(), &|| None).unwrap();
        let peer = [2, 2, 0][world.rank()];
        if world.rank() != 1 {
            world.open_stream(peer, [4; 16], soon()).unwrap();
        }
    });
    worlds[0].announce(2, b"still here");
    assert_eq!(ear.recv_timeout(LONG).unwrap(), Heard::Word(0, 2, b"still here".to_vec()));
}

#[test]
fn a_forked_child_is_refused_and_disturbs_nobody() {
    let worlds = Environment::local().join_all(2);
    let ear = listen(&worlds[1]);
    // SAFETY: the child only calls what checks the process first, and ends without running destructors of the parent.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = worlds[0].open_stream(1, [0; 16], soon()).is_err_and(|error| error.kind() == ErrorKind::Forked)
            && worlds[0]
                .share_fd(&[0, 1], [0; 16], None, soon(), &|| None)
                .is_err_and(|error| error.kind() == ErrorKind::Forked);
        worlds[0].announce(2, b"from the child");
        worlds[0].leave();
        drop(worlds);
        // SAFETY: ends this process; takes no pointers.
        unsafe { libc::_exit(if refused { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: the pointer is to a live local.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    worlds[0].announce(2, b"from the parent");
    assert_eq!(ear.recv_timeout(LONG).unwrap(), Heard::Word(0, 2, b"from the parent".to_vec()));
}

#[test]
fn a_forked_child_does_not_hide_its_parents_death() {
    let worlds = Environment::local().join_all(2);
    let ear = listen(&worlds[1]);
    // SAFETY: the child only sleeps until it is killed.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: takes no pointers.
            unsafe { libc::pause() };
        }
    }
    worlds[0].die();
    let heard = ear.recv_timeout(Duration::from_secs(10));
    // SAFETY: the pid is that of this test's own child, which is not waited for before.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    assert_eq!(heard, Ok(Heard::Lost(0)), "while the child lived");
}

#[test]
fn a_world_that_was_left_refuses_and_stays_silent() {
    let worlds = Environment::local().join_all(2);
    worlds[0].leave();
    worlds[0].leave();
    worlds[0].announce(2, b"nothing");
    assert_eq!(worlds[0].open_stream(1, [0; 16], soon()).unwrap_err().kind(), ErrorKind::Aborted);
    assert_eq!(worlds[1].open_stream(0, [0; 16], soon()).unwrap_err().kind(), ErrorKind::PeerLost);
}

#[test]
fn a_world_of_one_has_no_socket_and_no_thread() {
    let world = Environment::local().join(0, 1, soon()).unwrap();
    assert!(world.links.is_none());
    world.announce(2, b"to nobody");
    world.share_fd(&[0], [0; 16], Some(memory_file().into()), soon(), &|| None).unwrap();
    assert_eq!(world.open_stream(0, [0; 16], soon()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    world.leave();
    let odd = Job { size: 2, ..Environment::local().job(0, 1) };
    assert_eq!(World::join(&odd, b"", soon()).unwrap_err().kind(), ErrorKind::InvalidArgument);
}
