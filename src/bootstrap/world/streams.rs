//! Connections for data between two ranks of a world.

use super::World;
use crate::bootstrap::dial::Target;
use crate::bootstrap::mesh::Purpose;
use crate::bootstrap::message::{Request, Tag};
use crate::bootstrap::socket::Stream;
use crate::error::{Error, Result};
use crate::types::Rank;
use std::net::TcpStream;
use std::time::Instant;

impl World {
    /// A TCP connection to `peer` for data: [`World::open_streams`] for one.
    pub fn open_stream(&self, peer: Rank, tag: Tag, deadline: Instant) -> Result<TcpStream> {
        let streams = self.open_streams(&[(peer, tag)], deadline, &|_| None)?;
        Ok(streams.into_iter().next().expect("one was asked for"))
    }

    /// TCP connections for data to these peers, in this order, both ends authenticated. Both ends of one call it with the same tag;
    /// the lower rank dials, the higher waits for it. A rank dials all that it has to before it waits for any, so the order does not
    /// matter. `hopeless` is asked some times a second, with the rank that is waited for, and ends it with the error that it gives.
    /// The streams block, have `TCP_NODELAY` set, and are close-on-exec.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], [`ErrorKind::PeerLost`], [`ErrorKind::Resource`]; [`ErrorKind::InvalidArgument`] for a rank that
    /// is this one or none; [`ErrorKind::Forked`].
    ///
    /// [`ErrorKind::Timeout`]: crate::error::ErrorKind::Timeout
    /// [`ErrorKind::PeerLost`]: crate::error::ErrorKind::PeerLost
    /// [`ErrorKind::Resource`]: crate::error::ErrorKind::Resource
    /// [`ErrorKind::InvalidArgument`]: crate::error::ErrorKind::InvalidArgument
    /// [`ErrorKind::Forked`]: crate::error::ErrorKind::Forked
    pub fn open_streams(
        &self,
        wanted: &[(Rank, Tag)],
        deadline: Instant,
        hopeless: &dyn Fn(Rank) -> Option<Error>,
    ) -> Result<Vec<TcpStream>> {
        self.check_process()?;
        // The nearest higher rank first: so at any time the dials of all ranks go to different ones.
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|index| (wanted[*index].0 < self.rank, wanted[*index].0));
        let mut streams: Vec<Option<TcpStream>> = wanted.iter().map(|_| None).collect();
        for index in order {
            let (peer, tag) = wanted[index];
            let links = self.links_to(peer)?;
            let hopeless = || hopeless(peer);
            let stream = if self.rank < peer {
                let target = Target::Tcp(self.peers[peer].address);
                let request = Request::Stream { rank: self.rank, tag };
                self.call(&target, peer, &request, deadline, &|| hopeless().or_else(|| links.mesh.farewell_of(peer)))?
            } else {
                links.mesh.take_parked(Purpose::Stream, peer, tag, deadline, &hopeless)?
            };
            let Stream::Tcp(stream) = stream else { unreachable!("streams are let in over TCP alone") };
            stream.set_nonblocking(false).map_err(|error| self.broken(peer, "connection", &error))?;
            streams[index] = Some(stream);
        }
        Ok(streams.into_iter().map(|stream| stream.expect("all were opened")).collect())
    }

    /// This rank opens no more streams whose tags begin with these bytes (little-endian): those that others have opened or open later
    /// are closed, so that they see it. Streams that this rank has taken are not touched.
    pub fn refuse_streams(&self, family: u64) {
        if let Some(links) = self.own_links() {
            links.mesh.refuse(family);
        }
    }
}
