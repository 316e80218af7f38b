//! Worlds of threads, and worlds of processes: this test binary runs itself once per rank. No wait is without a deadline.

use crate::{product, uses};
use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use unisono::{Builder, Communicator, Progress, TransportKind};

/// Set for the processes that play a rank: what they do, and who moves their operations on.
const BODY: &str = "GRID_BODY";
const PROGRESS: &str = "GRID_PROGRESS";

/// Any one call, and the rendezvous.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// All calls of a world of processes.
const SHORT_LIMIT: Duration = Duration::from_secs(300);
const FULL_LIMIT: Duration = Duration::from_secs(6 * 3600);
/// What the other ranks get to report once one has failed.
const GRACE: Duration = Duration::from_secs(3);

/// What every rank of a world does.
#[derive(Clone, Copy)]
pub enum Body {
    /// The cases of the grid.
    Cases,
    /// The rest of the interface.
    Uses,
}

impl Body {
    fn name(self) -> &'static str {
        match self {
            Body::Cases => "cases",
            Body::Uses => "uses",
        }
    }

    fn run(self, communicator: &mut Communicator, transport: TransportKind) {
        match self {
            Body::Cases => crate::run_cases(communicator, transport),
            Body::Uses => uses::run(communicator),
        }
    }
}

/// Ranks that reach each other by one transport.
#[derive(Clone, Copy)]
pub struct World {
    pub transport: TransportKind,
    pub ranks: usize,
    pub progress: Progress,
}

impl World {
    /// Runs `body` on every rank of a new world. Panics with what the ranks said if one fails.
    pub fn run(self, body: Body) {
        match self.transport {
            TransportKind::Memory => self.run_threads(body),
            TransportKind::Shm | TransportKind::Tcp => self.run_processes(body),
        }
    }

    fn builder(self) -> Builder {
        let builder = Communicator::builder().timeout(CALL_TIMEOUT).progress(self.progress);
        builder.transport(self.transport).require(self.transport)
    }

    fn run_threads(self, body: Body) {
        let ranks = self.builder().local(self.ranks).expect("threads make a world");
        std::thread::scope(|threads| {
            for mut communicator in ranks {
                threads.spawn(move || body.run(&mut communicator, self.transport));
            }
        });
    }

    fn run_processes(self, body: Body) {
        let meeting = Meeting::new();
        let limit = if product::Selection::from_environment().is_long() { FULL_LIMIT } else { SHORT_LIMIT };
        let mut processes: Vec<Process> =
            (0..self.ranks).map(|rank| Process::start(self, body, &meeting, rank)).collect();
        let mut deadline = Instant::now() + limit;
        let mut failed = false;
        while processes.iter_mut().any(Process::is_running) && Instant::now() < deadline {
            if !failed && processes.iter_mut().any(Process::has_failed) {
                failed = true;
                deadline = deadline.min(Instant::now() + GRACE);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if processes.iter_mut().any(|process| process.is_running() || process.has_failed()) {
            let reports: Vec<String> = processes.into_iter().map(Process::report).collect();
            panic!("{} ranks by {}, {}:\n{}", self.ranks, self.transport, body.name(), reports.join("\n"));
        }
    }
}

/// How the processes of one world find and trust each other.
struct Meeting {
    port: u16,
    secret: String,
}

impl Meeting {
    fn new() -> Meeting {
        static MEETINGS: AtomicU64 = AtomicU64::new(0);
        let number = MEETINGS.fetch_add(1, Ordering::Relaxed);
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        Meeting { port, secret: format!("grid {} {number}", std::process::id()) }
    }
}

/// One rank's process; killed when dropped.
struct Process {
    rank: usize,
    child: Child,
    ended: Option<ExitStatus>,
    outputs: Vec<JoinHandle<String>>,
}

impl Process {
    fn start(world: World, body: Body, meeting: &Meeting, rank: usize) -> Process {
        let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
        command.args(["--exact", "a_process_that_plays_a_rank", "--nocapture", "-q"]);
        command.env(BODY, body.name());
        if world.progress == Progress::Thread {
            command.env(PROGRESS, "thread");
        }
        for (name, value) in [
            ("RANK", rank.to_string()),
            ("WORLD_SIZE", world.ranks.to_string()),
            ("LOCAL_RANK", rank.to_string()),
            ("LOCAL_WORLD_SIZE", world.ranks.to_string()),
            ("MASTER_ADDR", "127.0.0.1".to_owned()),
            ("MASTER_PORT", meeting.port.to_string()),
            ("UNISONO_SECRET", meeting.secret.clone()),
            ("UNISONO_TRANSPORT", world.transport.to_string()),
        ] {
            command.env(name, value);
        }
        // The rank ends when its standard input does, so that it does not outlive a test that was killed.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the test binary starts again");
        let outputs = vec![
            read_all(child.stdout.take().expect("it is piped")),
            read_all(child.stderr.take().expect("it is piped")),
        ];
        Process { rank, child, ended: None, outputs }
    }

    fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the child is ours");
        }
        self.ended.is_none()
    }

    fn has_failed(&mut self) -> bool {
        !self.is_running() && self.ended.is_some_and(|status| !status.success())
    }

    /// Ends the rank if it has not ended, and tells what it wrote.
    fn report(mut self) -> String {
        let fate =
            if self.is_running() { "still ran".to_owned() } else { format!("{}", self.ended.expect("it ended")) };
        let _ = self.child.kill();
        let _ = self.child.wait();
        let outputs: String = self.outputs.drain(..).filter_map(|output| output.join().ok()).collect();
        format!("-- rank {} ({fate})\n{}", self.rank, outputs.trim())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Plays the rank that the environment says, if it says one.
pub fn play_a_rank() {
    let Ok(name) = std::env::var(BODY) else { return };
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let body = [Body::Cases, Body::Uses].into_iter().find(|body| body.name() == name).expect("it was named by us");
    let wanted = std::env::var("UNISONO_TRANSPORT").expect("it was set by us");
    let transport = TransportKind::ALL.into_iter().find(|kind| kind.name() == wanted).expect("it was named by us");
    let progress = if std::env::var_os(PROGRESS).is_some() { Progress::Thread } else { Progress::Caller };
    let world = World { transport, ranks: 0, progress };
    let mut communicator = world.builder().from_env().expect("the processes find each other");
    body.run(&mut communicator, transport);
}
