//! What a user may choose, and where each choice comes from.

use super::diagnostics::Diagnostics;
use crate::calibrate;
use crate::error::{Error, ErrorKind, Result};
use crate::select::rules::Rules;
use crate::size;
use crate::topology::host::Speeds;
use crate::types::TransportKind;
use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long anything may wait unless something else was said: long enough for a rank that writes a checkpoint.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// Who moves operations on that were started and not waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// The caller, inside calls, polls and waits. A task that awaits an operation is polled again and again, with rests of up to a
    /// millisecond on its thread.
    #[default]
    Caller,
    /// A thread of the communicator's own, which also wakes futures.
    Thread,
}

/// A longer file is not one of rules.
const MOST_FILE_BYTES: u64 = 1 << 20;
/// What rank 0 tells the others when they meet has room for so much: about 400 rules.
const MOST_RULES_BYTES: usize = 48 << 10;

/// What one call asks for beside its arguments; for [`Communicator::with`](crate::Communicator::with).
///
/// ```
/// use std::time::Duration;
/// use unisono::Options;
///
/// let from_a_file: String = "ring".to_owned();
/// let options = Options::default().timeout(Duration::from_secs(20)).algorithm(from_a_file);
/// assert_eq!(options, Options { algorithm: Some("ring".into()), timeout: Some(Duration::from_secs(20)) });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Instead of the communicator's.
    pub timeout: Option<Duration>,
    /// An algorithm by its name in the registry, instead of the selection's; equal on all ranks.
    pub algorithm: Option<Cow<'static, str>>,
}

impl Options {
    /// How long the call may take.
    pub fn timeout(self, timeout: Duration) -> Options {
        Options { timeout: Some(timeout), ..self }
    }

    /// The algorithm that it runs. A name that there is not makes the call an error that offers the nearest.
    pub fn algorithm(self, name: impl Into<Cow<'static, str>>) -> Options {
        Options { algorithm: Some(name.into()), ..self }
    }
}

/// What a communicator is made with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub timeout: Option<Duration>,
    pub transport: Option<TransportKind>,
    pub require: Option<TransportKind>,
    pub progress: Progress,
    pub algorithm: Option<String>,
    pub rules: Option<Rules>,
    /// Where the rules are, if none were given. Rank 0 reads it.
    pub rules_file: Option<PathBuf>,
    pub shm_bytes: Option<usize>,
    /// None where nothing was said.
    pub strict: Option<bool>,
    /// Whether prices rest on a measurement of this host; yes where nothing was said.
    pub calibrate: Option<bool>,
    /// Whether ranks that share a processor move apart; yes where nothing was said.
    pub move_apart: Option<bool>,
    pub diagnostics: Diagnostics,
}

impl Settings {
    /// Fills what was not set from the environment.
    pub fn or_environment(mut self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Settings> {
        if self.timeout.is_none() {
            self.timeout = lookup("UNISONO_TIMEOUT").map(|text| seconds(&text)).transpose()?;
        }
        if self.transport.is_none() {
            self.transport = kind("UNISONO_TRANSPORT", lookup)?;
        }
        if self.require.is_none() {
            self.require = kind("UNISONO_REQUIRE", lookup)?;
        }
        if self.algorithm.is_none() {
            self.algorithm = algorithm("UNISONO_ALGORITHM", lookup)?;
        }
        if self.shm_bytes.is_none() {
            self.shm_bytes = lookup("UNISONO_SHM_BYTES").map(|text| bytes(&text)).transpose()?;
        }
        if self.rules.is_none() {
            let empty =
                |text: &String| text.is_empty().then(|| refuse("UNISONO_RULES", text, "the name of a CSV file"));
            let file = lookup("UNISONO_RULES");
            if let Some(refused) = file.as_ref().and_then(empty) {
                return Err(refused);
            }
            self.rules_file = file.map(PathBuf::from);
        }
        if self.strict.is_none() {
            self.strict = flag("UNISONO_STRICT", lookup)?;
        }
        if self.calibrate.is_none() {
            self.calibrate = flag("UNISONO_CALIBRATE", lookup)?;
        }
        if self.move_apart.is_none() {
            self.move_apart = flag("UNISONO_MOVE_APART", lookup)?;
        }
        self.diagnostics = Diagnostics::of_environment(lookup)?;
        if let Some(name) = &self.algorithm {
            crate::algorithm::find(name)?;
        }
        Ok(self)
    }

    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// How fast this host is, measured for so many ranks unless that is not wished.
    pub fn speeds(&self, ranks: usize) -> Speeds {
        if self.calibrate.unwrap_or(true) && ranks > 1 { calibrate::speeds(ranks) } else { Speeds::ASSUMED }
    }

    pub fn moves_apart(&self) -> bool {
        self.move_apart.unwrap_or(true)
    }

    pub fn has_rules(&self) -> bool {
        self.rules.is_some() || self.rules_file.is_some()
    }

    /// The rules that were given, or else those in the file.
    pub fn rules(&self) -> Result<Rules> {
        let rules = match (&self.rules, &self.rules_file) {
            (Some(rules), _) => rules.clone(),
            (None, Some(file)) => read_rules(file)
                .map_err(|error| error.remedy("mend the file that UNISONO_RULES names, or unset the variable"))?,
            (None, None) => Rules::default(),
        };
        let bytes = serde_json::to_vec(&rules).expect("plain fields").len();
        if bytes > MOST_RULES_BYTES {
            let told = format!("the {} rules of {} take {bytes} bytes", rules.rules.len(), rules.file);
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("{told}, and ranks tell each other {MOST_RULES_BYTES}"),
            )
            .remedy("give fewer rules, each of more sizes"));
        }
        Ok(rules)
    }
}

fn read_rules(path: &Path) -> Result<Rules> {
    let name = path.display().to_string();
    let refused = |why: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Configuration, format!("cannot read the rules of {name}: {why}"))
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|cause| refused(&cause))?;
    file.take(MOST_FILE_BYTES + 1).read_to_string(&mut text).map_err(|cause| refused(&cause))?;
    if text.len() as u64 > MOST_FILE_BYTES {
        return Err(refused(&"it is longer than 1 MiB"));
    }
    Rules::parse(&name, &text)
}

pub fn refuse(variable: &str, text: &str, wanted: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("{variable}={text} is not {wanted}"))
        .remedy(format!("set {variable} to {wanted}, or unset it"))
}

pub fn flag(variable: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<bool>> {
    match lookup(variable).as_deref() {
        None => Ok(None),
        Some("0") => Ok(Some(false)),
        Some("1") => Ok(Some(true)),
        Some(other) => Err(refuse(variable, other, "0 or 1")),
    }
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds = text.trim().parse::<f64>().ok().filter(|value| *value > 0.0 && *value < 1e9);
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| refuse("UNISONO_TIMEOUT", text, "a number of seconds, more than 0 and less than 1000000000"))
}

fn bytes(text: &str) -> Result<usize> {
    let bytes = size::parse(text.trim()).ok().and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| refuse("UNISONO_SHM_BYTES", text, "a number of bytes, such as 67108864 or 64MiB"))
}

fn algorithm(variable: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>> {
    let Some(name) = lookup(variable).filter(|name| name != "auto") else { return Ok(None) };
    match crate::algorithm::find(&name) {
        Ok(_) => Ok(Some(name)),
        Err(unknown) => Err(Error::new(ErrorKind::Configuration, format!("{variable}={name}: {unknown}"))
            .remedy(format!("set {variable} to the name of an algorithm or to auto, or unset it"))),
    }
}

fn kind(variable: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<TransportKind>> {
    let Some(text) = lookup(variable).filter(|text| text != "auto") else { return Ok(None) };
    // Threads of one process need not be told; processes can only be required to be none.
    let prefers = variable == "UNISONO_TRANSPORT";
    let found = TransportKind::ALL.into_iter().find(|kind| kind.name() == text);
    let found = found.filter(|kind| !(prefers && *kind == TransportKind::Memory));
    let known = if prefers { "one of auto, shm, tcp" } else { "one of auto, memory, shm, tcp" };
    found.map(Some).ok_or_else(|| refuse(variable, &text, known))
}

/// How a rank waits before it sleeps, by how many ranks share the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Polls, each with a pause, before anything else is done.
    pub spins: u32,
    /// Times the processor is given away before the rank sleeps.
    pub yields: u32,
    /// A rank whose bell is never rung still sees deadline and failure within this time.
    pub longest_sleep: Duration,
}

/// While its progress thread sleeps the engine is locked, and a caller can't ring where only sockets wake.
const SHORT_SLEEP: Duration = Duration::from_millis(1);
const LONG_SLEEP: Duration = Duration::from_millis(50);

impl Patience {
    /// For `local_ranks` on the processors that this process may use. With a processor for each, a few microseconds of spinning
    /// cost nobody anything, and yielding costs little unless another program wants the processor, which then gets it;
    /// with fewer, the rank that is waited for needs the processor that the waiting one holds (benches/NOTES.md has the measurement).
    pub fn for_ranks(local_ranks: usize, progress: Progress, has_bell: bool) -> Patience {
        let longest_sleep = if progress == Progress::Thread && !has_bell { SHORT_SLEEP } else { LONG_SLEEP };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        if local_ranks <= processors {
            Patience { spins: 300, yields: 2000, longest_sleep }
        } else {
            Patience { spins: 4, yields: 100, longest_sleep }
        }
    }

    pub fn with_sleep_of_at_most(self, longest: Duration) -> Patience {
        Patience { longest_sleep: self.longest_sleep.min(longest), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_fills_gaps_and_its_mistakes_are_named() {
        let lookup = |name: &str| match name {
            "UNISONO_TIMEOUT" => Some("2.5".to_owned()),
            "UNISONO_TRANSPORT" => Some("tcp".to_owned()),
            _ => None,
        };
        let settings = Settings::default().or_environment(&lookup).unwrap();
        assert_eq!(settings.timeout(), Duration::from_millis(2500));
        assert_eq!(settings.transport, Some(TransportKind::Tcp));
        let set = Settings { timeout: Some(Duration::from_secs(1)), ..Settings::default() };
        assert_eq!(set.or_environment(&lookup).unwrap().timeout(), Duration::from_secs(1));
        for (variable, value, told) in [
            ("UNISONO_TIMEOUT", "soon", "UNISONO_TIMEOUT=soon is not a number of seconds, more than 0"),
            (
                "UNISONO_TIMEOUT",
                "0",
                "UNISONO_TIMEOUT=0 is not a number of seconds, more than 0 and less than 1000000000",
            ),
            ("UNISONO_ALGORITHM", "rnig", "UNISONO_ALGORITHM=rnig: unknown algorithm `rnig`; did you mean `ring`?"),
            ("UNISONO_SHM_BYTES", "64MB", "UNISONO_SHM_BYTES=64MB is not a number of bytes"),
        ] {
            let error = with(variable, value).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    fn with(variable: &str, value: &str) -> Result<Settings> {
        Settings::default().or_environment(&|name| (name == variable).then(|| value.to_owned()))
    }

    #[test]
    fn sizes_have_units_and_auto_is_no_algorithm() {
        for (value, bytes) in [("64MiB", 64 << 20), ("67108864", 64 << 20), ("3GiB", 3 << 30)] {
            assert_eq!(with("UNISONO_SHM_BYTES", value).unwrap().shm_bytes, Some(bytes));
        }
        assert_eq!(with("UNISONO_ALGORITHM", "auto").unwrap().algorithm, None);
        assert_eq!(with("UNISONO_ALGORITHM", "ring").unwrap().algorithm.as_deref(), Some("ring"));
    }

    #[test]
    fn every_variable_that_is_read_is_a_known_one() {
        let asked = std::cell::RefCell::new(Vec::new());
        let lookup = |name: &str| {
            asked.borrow_mut().push(name.to_owned());
            None
        };
        Settings::default().or_environment(&lookup).unwrap();
        let asked = asked.into_inner();
        assert!(asked.len() >= 5, "{asked:?}");
        assert_eq!(crate::bootstrap::unknown_variables(asked.into_iter()), []);
    }
}
