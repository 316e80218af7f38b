//! Strangers, wrong secrets and taken ports where ranks meet, with a real job behind.

use super::names_rank;
use super::process::{Process, expect_all, tell_all};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn rank(rank: usize, size: usize, port: u16, secret: &str, timeout: &str) -> Process {
    let environment = [
        ("RANK", rank.to_string()),
        ("WORLD_SIZE", size.to_string()),
        ("MASTER_ADDR", "127.0.0.1".to_owned()),
        ("MASTER_PORT", port.to_string()),
        ("UNISONO_SECRET", secret.to_owned()),
        ("UNISONO_TIMEOUT", timeout.to_owned()),
    ];
    Process::spawn(&mut Process::command(), &environment)
}

#[test]
fn strangers_are_turned_away_and_the_job_goes_on() {
    let port = free_port();
    let mut job = vec![rank(0, 3, port, "right", "50")];
    let connect = || loop {
        // Rank 0 may not listen yet.
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
            break stream;
        }
        std::thread::yield_now();
    };
    let _silent = connect();
    let mut garbage = connect();
    let _ = garbage.write_all(&[0xff; 4096]);
    let mut browser = connect();
    let _ = browser.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    drop(connect());
    let impostor = rank(1, 3, port, "wrong", "50");
    let line = impostor.next_line();
    assert!(line.starts_with("failed error rendezvous ") && line.contains("UNISONO_SECRET"), "{line}");
    job.push(rank(1, 3, port, "right", "50"));
    job.push(rank(2, 3, port, "right", "50"));
    expect_all(&job, "joined");
    tell_all(&mut job, "repeat 10 all_reduce f32 sum 1000 0");
    expect_all(&job, "ok");
    job.into_iter().for_each(|process| process.end());
}

#[test]
fn a_port_in_use_is_named_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let started = Instant::now();
    let line = rank(0, 2, port, "right", "50").next_line();
    assert!(line.starts_with("failed error rendezvous ") && line.contains(&port.to_string()), "{line}");
    assert!(started.elapsed() < Duration::from_secs(40), "the whole timeout was waited");
}

#[test]
fn a_rank_that_never_comes_is_named() {
    let port = free_port();
    let processes = [0, 1].map(|one| rank(one, 3, port, "right", "3"));
    let line = processes[0].next_line();
    assert!(line.starts_with("failed error timeout ") && names_rank(&line, 2), "{line}");
    let line = processes[1].next_line();
    assert!(line.starts_with("failed error "), "{line}");
}
