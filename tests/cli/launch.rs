//! `unisono launch`: environment, output, and above all that a job ends as one.

use super::{Finished, finish, finished, program, unisono, watched};
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `unisono launch` of a shell script.
fn script(ranks: usize, options: &[&str], script: &str) -> Command {
    let mut command = unisono(&["launch", "-n", &ranks.to_string()]);
    command.args(options).args(["--", "/bin/sh", "-c", script]);
    command
}

fn run(ranks: usize, text: &str) -> Finished {
    finish(script(ranks, &[], text))
}

/// The lines of one rank, without their prefix.
fn lines_of(done: &str, rank: usize) -> Vec<&str> {
    done.lines().filter_map(|line| line.strip_prefix(&format!("[{rank}] "))).collect()
}

/// Waits until a condition holds; how long that may take is no part of what is tested.
#[track_caller]
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Starts a job with stdout to be read line by line.
fn start(ranks: usize, text: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = watched(script(ranks, &[], text).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
    (child, stdout)
}

fn read_lines(stdout: &mut impl BufRead, count: usize) -> Vec<String> {
    let lines: Vec<String> = stdout.lines().take(count).map(|line| line.expect("UTF-8")).collect();
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

/// The pids that ranks printed: the last word of each line.
fn pids(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.rsplit(' ').next().expect("a word")).collect()
}

fn signal(pid: u32, name: &str) {
    let killed = Command::new("/bin/sh").args(["-c", &format!("kill -{name} {pid}")]).status().expect("kill runs");
    assert!(killed.success());
}

#[test]
fn every_rank_knows_its_place_and_all_share_meeting_point_and_secret() {
    let done = run(
        3,
        "echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $UNISONO_LAUNCHED
         echo $MASTER_PORT $UNISONO_SECRET",
    );
    done.expect_status(0);
    let mut meetings = HashSet::new();
    for rank in 0..3 {
        let lines = lines_of(&done.stdout, rank);
        done.expect(lines[0] == format!("{rank} 3 {rank} 3 127.0.0.1 1"), "the environment of a rank");
        meetings.insert(lines[1]);
    }
    let meeting: Vec<&str> = meetings.iter().next().expect("one").split(' ').collect();
    done.expect(meetings.len() == 1, "one port and one secret");
    done.expect(meeting[0].parse::<u16>().is_ok_and(|port| port >= 1024), "a port");
    done.expect(meeting[1].len() == 64 && meeting[1].bytes().all(|byte| byte.is_ascii_hexdigit()), "a secret");
    let other = run(1, "echo $MASTER_PORT $UNISONO_SECRET");
    other.expect(!other.stdout.contains(meeting[1]), "every job has a secret of its own");
}

#[test]
fn the_place_in_a_job_around_this_one_is_forgotten() {
    let mut command = script(2, &[], "echo ${UNISONO_RANK-none} ${UNISONO_PORT-none} ${UNISONO_HOST_ID-none} $RANK");
    command.envs([("UNISONO_RANK", "7"), ("UNISONO_PORT", "1"), ("UNISONO_HOST_ID", "here"), ("RANK", "9")]);
    let done = finish(command);
    for rank in 0..2 {
        assert_eq!(lines_of(&done.stdout, rank), [format!("none none here {rank}")]);
    }
}

#[test]
fn both_outputs_are_prefixed_and_arguments_arrive_as_they_are() {
    let mut command = unisono(&["launch", "-n", "2", "/bin/sh", "-c"]);
    command.args(["echo \"$1\"; printf unfinished >&2", "-", "a  b --output\n*"]);
    let done = finish(command);
    for rank in 0..2 {
        done.expect(lines_of(&done.stdout, rank) == ["a  b --output", "*"], "stdout of each rank");
        done.expect(lines_of(&done.stderr, rank) == ["unfinished"], "stderr of each rank");
    }
}

#[test]
fn lines_of_different_ranks_are_never_torn() {
    let text =
        "i=0; while [ $i -lt 2000 ]; do echo $RANK-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-$i; i=$((i+1)); done";
    // Both outputs into one pipe: a line on one must not tear a line on the other either.
    let done = finish(script(3, &[], &format!("({text}) & ({text}) >&2; wait")));
    let same = finish({
        let mut shell = program("/bin/sh");
        shell.args(["-c", "exec \"$@\" 2>&1", "-", env!("CARGO_BIN_EXE_unisono"), "launch", "-n", "3", "--"]);
        shell.args(["/bin/sh", "-c", &format!("({text}) & ({text}) >&2; wait")]);
        shell
    });
    let both = [done.stdout.as_str(), done.stderr.as_str(), same.stdout.as_str()];
    assert_eq!(both.map(|text| text.lines().count()), [6000, 6000, 12000]);
    for line in both.iter().flat_map(|text| text.lines()) {
        let (prefix, rest) = line.split_once(' ').expect("a prefix");
        let parts: Vec<&str> = rest.split('-').collect();
        let whole = parts.len() == 3 && parts[1].len() == 40 && parts[2].parse::<u32>().is_ok();
        assert!(whole && prefix == format!("[{}]", parts[0]), "torn: {line}");
    }
}

#[test]
fn a_line_without_end_is_passed_on_in_bounded_pieces() {
    let done = run(2, "head -c 300000 /dev/zero | tr '\\0' x");
    done.expect_status(0);
    for rank in 0..2 {
        let lines = lines_of(&done.stdout, rank);
        assert_eq!(lines.iter().map(|line| line.len()).sum::<usize>(), 300_000);
        assert!(lines.iter().all(|line| line.len() <= 64 << 10));
    }
}

#[test]
fn output_goes_plain_or_into_files_if_so_asked() {
    let text = "printf \"out $RANK\"; printf \"err $RANK\" >&2";
    let plain = finish(script(1, &["--output", "plain"], text));
    assert_eq!((plain.stdout.as_str(), plain.stderr.as_str()), ("out 0", "err 0"));

    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("launch-output/below");
    let _ = fs::remove_dir_all(&directory);
    let done = finish(script(2, &["--output", directory.to_str().expect("UTF-8")], text));
    done.expect(done.status == 0 && done.stdout.is_empty() && done.stderr.is_empty(), "all output is in files");
    for rank in 0..2 {
        for kind in ["out", "err"] {
            let file = fs::read_to_string(directory.join(format!("rank-{rank}.{kind}"))).expect("the file is there");
            assert_eq!(file, format!("{kind} {rank}"));
        }
    }
    finish(script(1, &["--output", "/dev/null/x"], text)).expect_refusal(2, "name a directory");
}

#[test]
fn rank_0_has_our_stdin_and_the_others_none() {
    let mut child = script(3, &[], "cat; readlink /proc/$$/fd/0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("a pipe").write_all(b"for rank 0\n").expect("rank 0 reads");
    let done = finished(child.wait_with_output().expect("it ends"));
    assert_eq!([0, 1, 2].map(|rank| lines_of(&done.stdout, rank).len()), [2, 1, 1]);
    assert_eq!(lines_of(&done.stdout, 0)[0], "for rank 0");
    assert_eq!([1, 2].map(|rank| lines_of(&done.stdout, rank)[0]), ["/dev/null"; 2]);
}

#[test]
fn the_status_is_that_of_the_first_failure() {
    let done = run(3, "[ $RANK = 1 ] && exit 7; while kill -0 $PPID; do sleep 0.05; done");
    done.expect_status(7);
    done.expect(
        done.stderr.contains("rank 1 failed with status 7; 3 s to report for ranks 0, 2"),
        "who failed is named",
    );

    let done = run(2, "[ $RANK = 1 ] && kill -SEGV $$; exec sleep 1000");
    done.expect_status(128 + 11);
    done.expect(done.stderr.contains("rank 1 was ended by signal 11 (SIGSEGV)"), "the signal is named");
}

#[test]
fn the_others_may_report_before_they_are_ended() {
    // Rank 0 reports of itself within its 3 s, rank 2 ends only when it is told to, rank 3 only when it is killed.
    let done = run(
        4,
        "case $RANK in
           0) sleep 1; echo my report; exit 5;;
           1) exit 3;;
           2) trap 'echo told to end; exit 6' TERM;;
           3) trap 'echo told in vain' TERM;;
         esac
         while :; do sleep 0.05; done",
    );
    done.expect_status(3);
    assert_eq!(lines_of(&done.stdout, 0), ["my report"]);
    assert_eq!(lines_of(&done.stdout, 2), ["told to end"]);
    assert_eq!(lines_of(&done.stdout, 3), ["told in vain"]);
    done.expect(done.stderr.contains("3 s are over: ending ranks 2-3"), "who had to be ended is named");
}

#[test]
fn what_many_ranks_say_alike_after_a_failure_is_said_by_a_few() {
    let done = run(12, "[ $RANK = 3 ] && exit 7; sleep 0.5; echo rank $RANK: rank 3 is gone >&2; exit 1");
    done.expect_status(7);
    let said = done.stderr.lines().filter(|line| line.ends_with(": rank 3 is gone")).count();
    done.expect(said == 4, "four of them say it");
    done.expect(done.stderr.contains("7 more ranks say the same as rank "), "the others are counted");

    let before = run(12, "echo rank $RANK of 12");
    before.expect(before.stdout.lines().count() == 12, "nothing is left out while all is well");
}

#[test]
fn the_last_words_of_a_failed_rank_come_before_ours() {
    let done = run(1, "echo the reason >&2; exit 1");
    assert_eq!(done.stderr, "[0] the reason\nunisono: rank 0 failed with status 1\n");
}

#[test]
fn what_ranks_leave_behind_is_ended_with_them() {
    // A child in the background, one in a session of its own, one that will not listen.
    let done = run(
        2,
        "sleep 1000 & echo $!
         setsid sleep 1000 & echo $!
         (trap '' TERM; exec sleep 1000) & echo $!",
    );
    done.expect_status(0);
    let lines: Vec<String> = done.stdout.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 6);
    for pid in pids(&lines) {
        assert!(!lives(pid), "process {pid} was left behind");
    }
}

/// A rank whose work is done by a child of it, as with wrapper scripts.
const WRAPPED: &str = "sleep 1000 & echo $!; echo $$; wait";

#[test]
fn a_killed_launcher_leaves_nothing_behind() {
    let (mut child, mut stdout) = start(2, WRAPPED);
    let lines = read_lines(&mut stdout, 4);
    child.kill().expect("SIGKILL");
    child.wait().expect("it ends");
    for pid in pids(&lines) {
        wait_until("every process of the job ends", || !lives(pid));
    }
}

#[test]
fn a_killed_supervisor_leaves_nothing_behind() {
    let (mut child, mut stdout) = start(2, &format!("echo $PPID; {WRAPPED}"));
    let lines = read_lines(&mut stdout, 6);
    let supervisor = pids(&lines)[0].parse().expect("a pid");
    assert_ne!(supervisor, child.id());
    signal(supervisor, "KILL");
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!(child.wait().expect("it ends").code(), Some(128 + 9), "{stderr}");
    assert!(stderr.contains("the supervisor was ended by signal 9 (SIGKILL)"), "{stderr}");
    assert!(pids(&lines).iter().all(|pid| !lives(pid)));
}

#[test]
fn a_signal_to_the_launcher_reaches_the_ranks_and_is_its_status() {
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1), ("QUIT", 3)] {
        let text = format!("trap 'echo got it; exit 0' {name}; echo ready; while :; do sleep 0.05; done");
        let (child, mut stdout) = start(2, &text);
        read_lines(&mut stdout, 2);
        signal(child.id(), name);
        assert!(read_lines(&mut stdout, 2).iter().all(|line| line.ends_with("got it")));
        let done = finished(child.wait_with_output().expect("it ends"));
        done.expect_status(128 + number);
    }
}

#[test]
fn ranks_that_ignore_a_signal_are_ended_all_the_same() {
    let (child, mut stdout) = start(2, "trap '' INT TERM; echo $$; while :; do sleep 0.05; done");
    let lines = read_lines(&mut stdout, 2);
    signal(child.id(), "INT");
    finished(child.wait_with_output().expect("it ends")).expect_status(128 + 2);
    assert!(pids(&lines).iter().all(|pid| !lives(pid)));
}

#[test]
fn a_stopped_rank_is_ended_too() {
    let done = run(2, "[ $RANK = 1 ] && exit 9; kill -STOP $$");
    done.expect_status(9);
    done.expect(done.stderr.contains("ending rank 0"), "who had to be ended is named");
}

#[test]
fn nohup_works() {
    let mut command = program("/bin/sh");
    // The signal goes to the supervisor and to the keeper, the supervisor's parent.
    let text = "kill -HUP $PPID $(sed -n 's/^PPid:\\t//p' /proc/$PPID/status); echo alive";
    command.args(["-c", "trap '' HUP; exec \"$@\"", "-", env!("CARGO_BIN_EXE_unisono"), "launch", "-n", "1"]);
    let done = finish({
        command.args(["/bin/sh", "-c", text]);
        command
    });
    assert_eq!((done.status, done.stdout.as_str()), (0, "[0] alive\n"), "{}", done.stderr);
}

#[test]
fn what_this_command_was_told_to_ignore_its_ranks_ignore_too() {
    // As a script starts what it leaves in the background: Ctrl-C must end neither the launcher nor the ranks under it.
    let mut command = program("/bin/sh");
    command.args(["-c", "trap '' INT HUP; exec \"$@\"", "-", env!("CARGO_BIN_EXE_unisono"), "launch", "-n", "2"]);
    command.args(["/bin/sh", "-c", "kill -INT $PPID; kill -INT $$; kill -HUP $$; echo alive"]);
    let done = finish(command);
    done.expect_status(0);
    done.expect([0, 1].iter().all(|rank| lines_of(&done.stdout, *rank) == ["alive"]), "nobody was ended");
}

#[test]
fn a_reader_that_goes_away_ends_the_job_quietly() {
    let (mut child, mut stdout) = start(2, "echo $$; exec yes");
    let lines = read_lines(&mut stdout, 2);
    drop(stdout);
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!((child.wait().expect("it ends").code(), stderr.as_str()), (Some(128 + 13), ""));
    let first = lines.iter().find(|line| !line.ends_with(" y")).expect("a pid");
    assert!(!lives(first.rsplit(' ').next().expect("a word")));
}

#[test]
fn a_reader_that_pauses_does_not_keep_a_failed_job_alive() {
    let (mut child, mut stdout) = start(2, "echo $$; [ $RANK = 1 ] && exec yes; sleep 0.2; exit 4");
    // Two lines are the pids, or one of them is.
    let lines = read_lines(&mut stdout, 2);
    let pid = lines.iter().find(|line| !line.ends_with(" y")).expect("a pid").rsplit(' ').next().expect("a word");
    wait_until("the ranks end although nobody reads", || !lives(pid));
    std::io::copy(&mut stdout, &mut std::io::sink()).expect("the rest can be read");
    assert_eq!(child.wait().expect("it ends").code(), Some(4));
}

#[test]
fn a_program_that_cannot_be_run_is_one_sentence_and_the_status_of_shells() {
    finish(unisono(&["launch", "-n", "2", "/no/such/program"])).expect_refusal(127, "`/no/such/program`");
    finish(unisono(&["launch", "-n", "2", "no-such-program"])).expect_refusal(127, "`no-such-program`");
    finish(unisono(&["launch", "-n", "2", "/etc/passwd"])).expect_refusal(126, "`/etc/passwd`");
    finish(unisono(&["launch", "-n", "2", "/etc"])).expect_refusal(126, "`/etc`");
}

/// Runs a launch under a shell that sets limits first.
fn limited(limits: &str, ranks: usize, text: &str) -> Finished {
    let mut shell = program("/bin/sh");
    shell.args(["-c", &format!("{limits}; exec \"$@\""), "-", env!("CARGO_BIN_EXE_unisono"), "launch", "-n"]);
    shell.args([&ranks.to_string(), "/bin/sh", "-c", text]).stdin(Stdio::null());
    finish(shell)
}

#[test]
fn too_many_ranks_for_the_limits_is_one_sentence_and_leaves_none() {
    let done = limited("ulimit -n 30", 50, "echo $$ >&2; exec sleep 1000");
    done.expect_status(1);
    let (ours, theirs): (Vec<&str>, Vec<&str>) = done.stderr.lines().partition(|line| line.starts_with("unisono: "));
    done.expect(ours.len() == 1 && ours[0].contains("of 50: too many open files: raise"), "one sentence");
    for line in theirs {
        assert!(!lives(line.rsplit(' ').next().expect("a word")), "left behind: {line}");
    }
}

#[test]
fn ranks_have_the_limits_and_signals_that_we_were_given() {
    let done = limited("ulimit -Sn 77", 60, "ulimit -Sn");
    done.expect_status(0);
    assert_eq!(done.stdout.lines().filter(|line| line.ends_with("] 77")).count(), 60);

    let signals = "^Sig(Blk|Ign|Cgt)";
    let ours = finish({
        let mut command = program("grep");
        command.args(["-E", signals, "/proc/self/status"]);
        command
    });
    let rank = finish(unisono(&["launch", "-n", "1", "--output=plain", "grep", "-E", signals, "/proc/self/status"]));
    assert_eq!(rank.stdout, ours.stdout);
}

#[test]
fn ranks_on_two_hosts_run_a_hierarchy() {
    let unisono = env!("CARGO_BIN_EXE_unisono");
    for (collective, algorithm) in [("all_reduce", "hierarchical_ring"), ("all_to_all", "rail_all_to_all")] {
        let bench = format!("bench {collective} --max 2KiB --algorithm {algorithm} --json");
        let done = run(4, &format!("UNISONO_HOST_ID=host$((RANK / 2)) exec '{unisono}' {bench}"));
        let lines = lines_of(&done.stdout, 0);
        let is_right =
            |line: &&str| line.contains(&format!("\"algorithm\":\"{algorithm}\"")) && line.contains("\"errors\":0");
        done.expect(done.status == 0 && !lines.is_empty() && lines.iter().all(is_right), "no wrong element");
    }
}
