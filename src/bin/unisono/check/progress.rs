//! What is being proved, told on stderr where it takes long.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(2);
const THEN: Duration = Duration::from_secs(10);

struct State {
    what: String,
    since: Instant,
    /// Counts what there was.
    number: u64,
    is_over: bool,
}

/// Tells until it is dropped.
pub struct Progress {
    shared: Arc<(Mutex<State>, Condvar)>,
    teller: Option<JoinHandle<()>>,
}

impl Progress {
    pub fn on_stderr() -> Progress {
        Progress::telling(FIRST, THEN, crate::failure::tell)
    }

    fn telling(first: Duration, then: Duration, tell: impl Fn(&str) + Send + 'static) -> Progress {
        let state = State { what: String::new(), since: Instant::now(), number: 0, is_over: false };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let seen = shared.clone();
        let body = move || {
            let (state, over) = &*seen;
            let mut pause = first;
            let mut state = state.lock().expect("no panic under this lock");
            loop {
                let number = state.number;
                let is_same = |state: &mut State| !state.is_over && state.number == number;
                let (now, waited) = over.wait_timeout_while(state, pause, is_same).expect("no panic under this lock");
                state = now;
                if state.is_over {
                    return;
                }
                pause = if waited.timed_out() { then } else { first };
                if waited.timed_out() && !state.what.is_empty() {
                    tell(&format!("{}, {:.0} s so far", state.what, state.since.elapsed().as_secs_f64()));
                }
            }
        };
        // Where no thread can be started the work goes on untold.
        Progress { shared, teller: thread::Builder::new().spawn(body).ok() }
    }

    /// What is begun now.
    pub fn at(&self, what: String) {
        let mut state = self.shared.0.lock().expect("no panic under this lock");
        *state = State { what, since: Instant::now(), number: state.number + 1, is_over: false };
        self.shared.1.notify_all();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.0.lock().expect("no panic under this lock").is_over = true;
        self.shared.1.notify_all();
        if let Some(teller) = self.teller.take() {
            let _ = teller.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_told_and_what_does_not_is_not() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = |first: Duration| {
            let told = told.clone();
            Progress::telling(first, Duration::from_millis(1), move |line| told.lock().unwrap().push(line.to_owned()))
        };
        let quick = telling(Duration::from_secs(3600));
        quick.at("one".to_owned());
        drop(quick);
        assert_eq!(told.lock().unwrap().len(), 0);
        let slow = telling(Duration::from_millis(1));
        slow.at("two".to_owned());
        let patience = Instant::now() + Duration::from_secs(30);
        while !told.lock().unwrap().iter().any(|line| line.starts_with("two, ")) && Instant::now() < patience {
            thread::sleep(Duration::from_millis(1));
        }
        drop(slow);
        assert!(told.lock().unwrap().iter().any(|line| line.starts_with("two, ")), "{:?}", told.lock().unwrap());
    }
}
