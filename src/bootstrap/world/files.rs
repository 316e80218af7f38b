//! A file that several ranks of a host come to share.

use super::World;
use crate::bootstrap::dial::{Target, no_descriptors};
use crate::bootstrap::door::is_out_of_descriptors;
use crate::bootstrap::graph::{children, parent};
use crate::bootstrap::handle::{receive_handle, send_handle};
use crate::bootstrap::mesh::{ASK_HOPE_INTERVAL, Purpose};
use crate::bootstrap::message::{Request, Tag};
use crate::bootstrap::rendezvous::hex;
use crate::bootstrap::secret::Key;
use crate::bootstrap::socket::Stream;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

impl World {
    /// Hands one file descriptor to several processes of this host: the first of the group gives it, the others give `None` and pass
    /// it on, as in a binomial broadcast; every member calls with the same tag and gets a descriptor of the same file, close-on-exec.
    /// `hopeless` is asked some times a second while another is waited for, and ends it with the error that it gives; so does the loss
    /// of any member.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the group does not hold this rank, holds one twice or one of another host, or `handle`
    /// is given by another than its first; otherwise as [`World::open_streams`].
    pub fn share_fd(
        &self,
        group: &[Rank],
        tag: Tag,
        handle: Option<OwnedFd>,
        deadline: Instant,
        hopeless: &dyn Fn() -> Option<Error>,
    ) -> Result<OwnedFd> {
        self.check_process()?;
        self.check_group(group, handle.is_some())?;
        let own = group.iter().position(|rank| *rank == self.rank).expect("the group was checked");
        // Whoever is lost may be anywhere in the broadcast: before this rank, behind it, or between it and one that it waits for.
        let any_lost = || self.own_links().and_then(|links| links.mesh.first_lost_of(group));
        let hopeless = || hopeless().or_else(any_lost);
        let handle = match handle {
            Some(handle) => handle,
            None => {
                let giver = group[parent(own)];
                let links = self.links_to(giver)?;
                let target = Target::Abstract(handle_name(&links.session, giver));
                let request = Request::Handle { rank: self.rank, tag };
                let hopeless = || hopeless().or_else(|| links.mesh.farewell_of(giver));
                let stream = self.call(&target, giver, &request, deadline, &hopeless)?;
                self.await_handle(&stream, giver, deadline, &hopeless)?
            }
        };
        for child in children(own, group.len()) {
            let member = group[child];
            let stream = self.links_to(member)?.mesh.take_parked(Purpose::Handle, member, tag, deadline, &hopeless)?;
            send_handle(&stream, handle.as_fd(), deadline)
                .map_err(|error| self.broken(member, "handing over a file", &error))?;
        }
        Ok(handle)
    }

    /// Receives a file from the rank that gives it, unless that becomes hopeless.
    fn await_handle(
        &self,
        stream: &Stream,
        giver: Rank,
        deadline: Instant,
        hopeless: &dyn Fn() -> Option<Error>,
    ) -> Result<OwnedFd> {
        loop {
            let error = match receive_handle(stream, deadline.min(Instant::now() + ASK_HOPE_INTERVAL)) {
                Ok(handle) => return Ok(handle),
                Err(error) => error,
            };
            if let Some(reason) = hopeless() {
                return Err(reason);
            }
            if is_out_of_descriptors(&error) {
                return Err(no_descriptors(&error).on_rank(self.rank));
            }
            if error.kind() != io::ErrorKind::TimedOut || Instant::now() >= deadline {
                return Err(self.broken(giver, "handing over a file", &error));
            }
        }
    }

    fn check_group(&self, group: &[Rank], gives: bool) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message).on_rank(self.rank));
        let listed = format!("the group {group:?}");
        if let Some(rank) = group.iter().find(|rank| **rank >= self.size()) {
            return invalid(format!("{listed} has rank {rank}, but the job has {} ranks", self.size()));
        }
        if !group.contains(&self.rank) {
            return invalid(format!("{listed} does not have this rank"));
        }
        if let Some(rank) = group.iter().find(|rank| self.peers[**rank].host != self.peers[self.rank].host) {
            return invalid(format!("{listed} has rank {rank}, which is on another host"));
        }
        if (1..group.len()).any(|index| group[..index].contains(&group[index])) {
            return invalid(format!("{listed} has a rank twice"));
        }
        if gives != (group[0] == self.rank) {
            return invalid(format!("the first of {listed} gives the file, and no other"));
        }
        Ok(())
    }
}

/// The abstract socket of a rank at which it hands out files; only ranks of the session can tell it.
pub(in crate::bootstrap) fn handle_name(session: &Key, rank: Rank) -> Vec<u8> {
    format!("unisono-{}", hex(&session.label("handles", rank as u64)[..16])).into_bytes()
}
