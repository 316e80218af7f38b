//! What ranks tell each other before a communicator is made.

use super::builder::processors;
use crate::bootstrap::Job;
use crate::communicator::settings::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::select::rules::Rules;
use crate::topology::host::Speeds;
use crate::types::{Rank, TransportKind};
use serde::{Deserialize, Serialize};

/// What every rank tells every other before anything is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub version: String,
    pub algorithm: Option<String>,
    /// Rank 0's, where it has any; if they can't be read, all hear why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<std::result::Result<Rules, Refusal>>,
    pub transport: Option<TransportKind>,
    pub require: Option<TransportKind>,
    pub shm_bytes: Option<usize>,
    /// That the rank may use; the number of a communicator's first rank counts.
    pub processors: usize,
    pub strict: bool,
    /// Of rank 0's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speeds: Option<Speeds>,
}

/// Why rank 0's rules can't be followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    what: String,
    remedy: String,
}

impl Refusal {
    pub fn error(self) -> Error {
        Error::new(ErrorKind::Configuration, excerpt(&self.what, 1000)).remedy(excerpt(&self.remedy, 200))
    }
}

impl Hello {
    pub fn of(settings: &Settings, job: &Job) -> Hello {
        let (rank, local_ranks) = (job.rank, job.local_size.unwrap_or(job.size));
        let refusal = |error: Error| Refusal {
            what: error.message().to_owned(),
            remedy: "mend the file that UNISONO_RULES names to rank 0, or unset the variable".to_owned(),
        };
        Hello {
            rules: (rank == 0 && settings.has_rules()).then(|| settings.rules().map_err(refusal)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            algorithm: settings.algorithm.clone(),
            transport: settings.transport,
            require: settings.require,
            shm_bytes: settings.shm_bytes,
            processors: processors(),
            strict: settings.strict.unwrap_or(false),
            speeds: (rank == 0 && job.size > 1).then(|| settings.speeds(local_ranks.max(2))),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields")
    }

    pub fn decode(rank: Rank, bytes: &[u8]) -> Result<Hello> {
        serde_json::from_slice(bytes).map_err(|cause| {
            Error::new(
                ErrorKind::Rendezvous,
                format!("rank {rank} speaks another language: {}", excerpt(&cause.to_string(), 100)),
            )
            .with_peer(rank)
            .remedy("run the same version of the library on every rank")
        })
    }
}

/// What another rank wrote, as far as it belongs into a sentence of ours.
fn excerpt(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// Every rank must run the same version: plans of others need not match ours.
pub fn agree(hellos: &[Hello]) -> Result<()> {
    match hellos.iter().enumerate().find(|(_, hello)| hello.version != hellos[0].version) {
        None => Ok(()),
        Some((rank, hello)) => Err(Error::new(
            ErrorKind::Rendezvous,
            format!(
                "rank {rank} runs version {} and rank 0 version {}",
                excerpt(&hello.version, 100),
                excerpt(&hellos[0].version, 100)
            ),
        )
        .with_peer(rank)
        .remedy("run the same version of the library on every rank")),
    }
}
