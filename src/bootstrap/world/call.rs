//! Dials another rank of a world, and says what went wrong with one.

use super::World;
use crate::bootstrap::dial::{Dial, Target};
use crate::bootstrap::message::Request;
use crate::bootstrap::socket::Stream;
use crate::bootstrap::wire::write_all;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use std::io;
use std::time::Instant;

impl World {
    /// Dials a rank and says what for.
    pub(super) fn call(
        &self,
        target: &Target,
        rank: Rank,
        request: &Request,
        deadline: Instant,
        hopeless: &dyn Fn() -> Option<Error>,
    ) -> Result<Stream> {
        let links = self.several();
        let at = |error: Error| if error.peer().is_some() { error } else { error.on_rank(self.rank).with_peer(rank) };
        let dial = Dial { target, rank, key: &links.session, has_listened: true, deadline };
        let stream = dial.connect(hopeless).map_err(at)?;
        write_all(&stream, &request.encode(), deadline).map_err(|error| self.broken(rank, "connection", &error))?;
        Ok(stream)
    }

    pub(super) fn broken(&self, rank: Rank, what: &str, error: &io::Error) -> Error {
        let known = self.own_links().and_then(|links| links.mesh.farewell_of(rank));
        known.unwrap_or_else(|| {
            let (kind, remedy) = match error.kind() {
                io::ErrorKind::TimedOut => {
                    (ErrorKind::Timeout, "look at what that rank does, or give a longer timeout")
                }
                _ => (ErrorKind::PeerLost, "look at the output of that rank"),
            };
            Error::new(kind, format!("{what} with rank {rank} failed: {error}"))
                .on_rank(self.rank)
                .with_peer(rank)
                .remedy(remedy)
        })
    }
}
