//! What ranks say to each other, as frames.

use super::MAX_RANKS;
use super::host::HostId;
use super::ranks::RankSet;
use super::secret::KEY_BYTES;
use super::survey::{Answers, Question};
use super::wire::{Decoder, Encoder, MAX_PAYLOAD_BYTES, Malformed};
use crate::error::{Error, ErrorKind};
use crate::types::Rank;
use std::net::SocketAddr;

/// Names one stream or one handing-over among those of two ranks.
pub type Tag = [u8; 16];

/// Longest text of an address, in bytes.
const MAX_ADDRESS_BYTES: usize = 64;
/// Longest reason why a rank was lost, in bytes.
const MAX_REASON_BYTES: usize = 256;
/// Longest set of ranks, in bytes: a bit for each of [`MAX_RANKS`].
const MAX_RANKS_BYTES: usize = MAX_RANKS / 8;
/// Longest answer to a question: with a set of ranks it fits into a frame.
pub const MAX_ANSWER_BYTES: usize = 32 << 10;
/// Longest message and remedy of an error that is handed on, in bytes.
const MAX_ERROR_BYTES: usize = 16 * 1024;

/// The first frame of whoever dialled, after the challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// To rank 0 at the meeting point.
    Join(Introduction),
    /// This connection is the control link to that rank.
    Link { rank: Rank },
    /// This connection is for data.
    Stream { rank: Rank, tag: Tag },
    /// A file descriptor is to come back over this connection.
    Handle { rank: Rank, tag: Tag },
}

/// Who joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Introduction {
    pub rank: Rank,
    pub size: usize,
    pub host: HostId,
    pub pid: u32,
    pub address: SocketAddr,
}

/// What rank 0 answers to a rank that joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Welcome { nonce: [u8; KEY_BYTES], neighbours: Vec<(Rank, SocketAddr)> },
    Refused(Verdict),
}

/// An error that all ranks are to return alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub kind: ErrorKind,
    pub message: String,
    pub remedy: String,
    pub peer: Option<Rank>,
}

impl Verdict {
    pub fn into_error(self) -> Error {
        let error = Error::new(self.kind, self.message).remedy(self.remedy);
        match self.peer {
            Some(peer) => error.with_peer(peer),
            None => error,
        }
    }
}

/// What goes along a control link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Control<'a> {
    /// What every rank learns of every other before the world stands.
    Card(Card),
    /// The first word on a topic.
    Announced { topic: u64, origin: Rank, word: &'a [u8] },
    /// What ranks answer to a question.
    Answered(Answers),
    /// Those ranks are gone without a goodbye.
    Lost { ranks: RankSet, how: String },
    /// Those ranks said goodbye.
    Left { ranks: RankSet },
}

/// A rank and its hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    pub rank: Rank,
    pub host: HostId,
    pub pid: u32,
    pub address: SocketAddr,
    pub hello: Vec<u8>,
}

fn address(decoder: &mut Decoder<'_>) -> Result<SocketAddr, Malformed> {
    decoder.text(MAX_ADDRESS_BYTES)?.parse().map_err(|_| Malformed)
}

fn host(decoder: &mut Decoder<'_>) -> Result<HostId, Malformed> {
    HostId::named(decoder.text(HostId::MAX_BYTES)?).map_err(|_| Malformed)
}

fn pid(decoder: &mut Decoder<'_>) -> Result<u32, Malformed> {
    u32::try_from(decoder.number()?).map_err(|_| Malformed)
}

fn ranks(decoder: &mut Decoder<'_>) -> Result<RankSet, Malformed> {
    RankSet::from_bytes(decoder.bytes(MAX_RANKS_BYTES)?)
}

fn put_address(encoder: Encoder, address: &SocketAddr) -> Encoder {
    encoder.text(&address.to_string(), MAX_ADDRESS_BYTES)
}

impl Request {
    /// Largest body: an introduction with the longest names.
    pub const MAX_BYTES: usize = 1024;

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Request::Join(own) => {
                let encoder = Encoder::new(0).number(own.rank as u64).number(own.size as u64);
                let encoder = encoder.text(own.host.as_str(), HostId::MAX_BYTES).number(own.pid.into());
                put_address(encoder, &own.address).finish()
            }
            Request::Link { rank } => Encoder::new(1).number(*rank as u64).finish(),
            Request::Stream { rank, tag } => Encoder::new(2).number(*rank as u64).fixed(tag).finish(),
            Request::Handle { rank, tag } => Encoder::new(3).number(*rank as u64).fixed(tag).finish(),
        }
    }

    pub fn decode(body: &[u8]) -> Result<Request, Malformed> {
        let mut decoder = Decoder::new(body);
        let request = match decoder.kind()? {
            0 => Request::Join(Introduction {
                rank: decoder.index()?,
                size: decoder.index()?,
                host: host(&mut decoder)?,
                pid: pid(&mut decoder)?,
                address: address(&mut decoder)?,
            }),
            1 => Request::Link { rank: decoder.index()? },
            2 => Request::Stream { rank: decoder.index()?, tag: decoder.fixed()? },
            3 => Request::Handle { rank: decoder.index()?, tag: decoder.fixed()? },
            _ => return Err(Malformed),
        };
        decoder.end()?;
        Ok(request)
    }
}

/// The kinds of error with which rank 0 ends a meeting, in the order of their numbers on the wire.
const REFUSALS: [ErrorKind; 4] = [ErrorKind::Rendezvous, ErrorKind::Timeout, ErrorKind::PeerLost, ErrorKind::Resource];
const NO_PEER: u64 = u64::MAX;

impl Answer {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Answer::Welcome { nonce, neighbours } => {
                let encoder = Encoder::new(0).fixed(nonce).number(neighbours.len() as u64);
                neighbours
                    .iter()
                    .fold(encoder, |encoder, (rank, address)| put_address(encoder.number(*rank as u64), address))
                    .finish()
            }
            Answer::Refused(verdict) => {
                let kind = REFUSALS.iter().position(|kind| *kind == verdict.kind);
                let kind = kind.expect("rank 0 ends a meeting with one of these kinds");
                Encoder::new(1)
                    .number(kind as u64)
                    .number(verdict.peer.map_or(NO_PEER, |peer| peer as u64))
                    .text(&verdict.message, MAX_ERROR_BYTES)
                    .text(&verdict.remedy, MAX_ERROR_BYTES)
                    .finish()
            }
        }
    }

    pub fn decode(body: &[u8]) -> Result<Answer, Malformed> {
        let mut decoder = Decoder::new(body);
        let answer = match decoder.kind()? {
            0 => {
                let nonce = decoder.fixed()?;
                let count = decoder.index()?;
                // Collected one by one: a false count ends with the bytes, before it costs memory.
                let neighbours = std::iter::repeat_with(|| Ok((decoder.index()?, address(&mut decoder)?)))
                    .take(count)
                    .collect::<Result<Vec<_>, Malformed>>()?;
                Answer::Welcome { nonce, neighbours }
            }
            1 => {
                let kind = *REFUSALS.get(decoder.index()?).ok_or(Malformed)?;
                let peer = match decoder.number()? {
                    NO_PEER => None,
                    peer => Some(u32::try_from(peer).map_err(|_| Malformed)? as Rank),
                };
                let message = decoder.text(MAX_ERROR_BYTES)?.to_owned();
                let remedy = decoder.text(MAX_ERROR_BYTES)?.to_owned();
                Answer::Refused(Verdict { kind, message, remedy, peer })
            }
            _ => return Err(Malformed),
        };
        decoder.end()?;
        Ok(answer)
    }
}

impl<'a> Control<'a> {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Control::Card(card) => {
                let encoder = Encoder::new(0).number(card.rank as u64);
                let encoder = encoder.text(card.host.as_str(), HostId::MAX_BYTES).number(card.pid.into());
                put_address(encoder, &card.address).bytes(&card.hello).finish()
            }
            Control::Announced { topic, origin, word } => {
                Encoder::new(1).number(*topic).number(*origin as u64).bytes(word).finish()
            }
            Control::Lost { ranks, how } => {
                Encoder::new(2).bytes(&ranks.to_bytes()).text(how, MAX_REASON_BYTES).finish()
            }
            Control::Left { ranks } => Encoder::new(3).bytes(&ranks.to_bytes()).finish(),
            Control::Answered(Answers { topic, question: Question { round, sequence }, answer, ranks }) => {
                let encoder = Encoder::new(4).number(*topic).number(*round).number(*sequence);
                encoder.bytes(answer).bytes(&ranks.to_bytes()).finish()
            }
        }
    }

    pub fn decode(body: &'a [u8]) -> Result<Control<'a>, Malformed> {
        let mut decoder = Decoder::new(body);
        let control = match decoder.kind()? {
            0 => Control::Card(Card {
                rank: decoder.index()?,
                host: host(&mut decoder)?,
                pid: pid(&mut decoder)?,
                address: address(&mut decoder)?,
                hello: decoder.bytes(MAX_PAYLOAD_BYTES)?.to_vec(),
            }),
            1 => Control::Announced {
                topic: decoder.number()?,
                origin: decoder.index()?,
                word: decoder.bytes(MAX_PAYLOAD_BYTES)?,
            },
            2 => Control::Lost { ranks: ranks(&mut decoder)?, how: decoder.text(MAX_REASON_BYTES)?.to_owned() },
            3 => Control::Left { ranks: ranks(&mut decoder)? },
            4 => Control::Answered(Answers {
                topic: decoder.number()?,
                question: Question { round: decoder.number()?, sequence: decoder.number()? },
                answer: decoder.bytes(MAX_ANSWER_BYTES)?.into(),
                ranks: ranks(&mut decoder)?,
            }),
            _ => return Err(Malformed),
        };
        decoder.end()?;
        Ok(control)
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
