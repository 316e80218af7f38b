//! Both ends of a connection prove that they know the job's key, before a byte of anything else is read.
//!
//! | from | bytes |
//! |---|---|
//! | dialer | preamble: magic (8), version (4), zero (4), nonce (32) |
//! | acceptor | preamble, only to one that began like a rank |
//! | dialer | HMAC-SHA256(key, "dialer" ‖ dialer's preamble ‖ acceptor's preamble) |
//! | acceptor | HMAC-SHA256(key, "acceptor" ‖ the same), only to one that proved itself |
//!
//! The fixed sizes leave nothing to parse. The roles in the proofs keep one end from sending the other's proof back to it; the
//! nonces keep a recorded talk from being played again. What is sent afterwards is neither encrypted nor authenticated
//! byte by byte: who can change packets on the way is outside of what this protects from.

use crate::error::{Error, ErrorKind, Result};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

/// Bytes of a nonce, a key and a proof.
pub(super) const KEY_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"unisono\n";
/// Of everything that crosses a connection; ranks of different versions refuse each other.
const VERSION: u32 = 1;
const PREAMBLE_BYTES: usize = 48;

/// A shared secret as 32 bytes. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY_BYTES]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// From a secret of any length.
    pub fn from_secret(secret: &str) -> Key {
        Key(Sha256::new().chain_update(b"unisono secret\0").chain_update(secret).finalize().into())
    }

    /// The key of a local meeting without a secret. It is no secret: there the kernel says whose process the other is, and the
    /// challenge only turns strangers of the same user away.
    pub(super) fn public() -> Key {
        Key::from_secret("")
    }

    /// The key of one session of the job. The nonce may be read by others; without this key it tells them nothing.
    pub(super) fn of_session(&self, nonce: &[u8; KEY_BYTES]) -> Key {
        Key(self.mac(b"session", &[nonce]).finalize().into_bytes().into())
    }

    /// Bytes that only holders of the key can derive, to name something after.
    pub(super) fn label(&self, what: &str, number: u64) -> [u8; KEY_BYTES] {
        self.mac(b"label", &[what.as_bytes(), &number.to_le_bytes()]).finalize().into_bytes().into()
    }

    fn mac(&self, domain: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(domain);
        mac.update(b"\0");
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

/// 32 bytes from the kernel's random source.
pub(super) fn random() -> Result<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Resource, format!("the kernel gives no random bytes: {error}")))?;
    Ok(bytes)
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it does not speak as a rank of Unisono")]
    Stranger,
    #[error("it speaks version {theirs} of the protocol, this rank speaks {VERSION}")]
    Version { theirs: u32 },
    #[error("it does not know the job's secret")]
    Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Dialer,
    Acceptor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Preamble,
    Proof,
    Done,
}

/// One end of the talk, without a socket: bytes in, bytes out.
pub(super) struct Challenge {
    role: Role,
    key: Key,
    stage: Stage,
    ours: [u8; PREAMBLE_BYTES],
    theirs: [u8; PREAMBLE_BYTES],
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Challenge {
    pub fn dialer(key: Key) -> Result<Challenge> {
        let mut challenge = Challenge::new(Role::Dialer, key)?;
        challenge.output = challenge.ours.to_vec();
        Ok(challenge)
    }

    pub fn acceptor(key: Key) -> Result<Challenge> {
        Challenge::new(Role::Acceptor, key)
    }

    fn new(role: Role, key: Key) -> Result<Challenge> {
        let mut ours = [0; PREAMBLE_BYTES];
        ours[..8].copy_from_slice(&MAGIC);
        ours[8..12].copy_from_slice(&VERSION.to_le_bytes());
        ours[16..].copy_from_slice(&random()?);
        let theirs = [0; PREAMBLE_BYTES];
        Ok(Challenge { role, key, stage: Stage::Preamble, ours, theirs, input: Vec::new(), output: Vec::new() })
    }

    /// What is to be sent now; taken once.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// How many bytes to read now, at most; 0 when the challenge is passed, and never after a refusal. Whoever reads more would read into what follows.
    pub fn wanted(&self) -> usize {
        let whole = match self.stage {
            Stage::Preamble => PREAMBLE_BYTES,
            Stage::Proof => KEY_BYTES,
            Stage::Done => return 0,
        };
        whole - self.input.len()
    }

    /// Whether this end has shown its proof and waits for the other's: a close now most likely means another secret there.
    pub fn has_proved(&self) -> bool {
        self.role == Role::Dialer && self.stage == Stage::Proof
    }

    /// Takes bytes that came, no more than [`Challenge::wanted`].
    pub fn feed(&mut self, bytes: &[u8]) -> std::result::Result<(), Refusal> {
        assert!(bytes.len() <= self.wanted(), "reads no further than the challenge");
        self.input.extend_from_slice(bytes);
        let judged = self.judge();
        if judged.is_err() {
            self.input.clear();
        }
        judged
    }

    fn judge(&mut self) -> std::result::Result<(), Refusal> {
        // A stranger is known by its first bytes: no need to wait for 48 of them.
        if self.stage == Stage::Preamble {
            let begun = self.input.len().min(MAGIC.len());
            if self.input[..begun] != MAGIC[..begun] {
                return Err(Refusal::Stranger);
            }
        }
        if self.wanted() > 0 {
            return Ok(());
        }
        match self.stage {
            Stage::Preamble => self.take_preamble(),
            Stage::Proof => self.take_proof(),
            Stage::Done => Ok(()),
        }
    }

    fn take_preamble(&mut self) -> std::result::Result<(), Refusal> {
        self.theirs.copy_from_slice(&self.input);
        self.input.clear();
        let version = u32::from_le_bytes([self.theirs[8], self.theirs[9], self.theirs[10], self.theirs[11]]);
        if version != VERSION {
            return Err(Refusal::Version { theirs: version });
        }
        self.stage = Stage::Proof;
        self.output = match self.role {
            Role::Dialer => self.proof(Role::Dialer).finalize().into_bytes().to_vec(),
            Role::Acceptor => self.ours.to_vec(),
        };
        Ok(())
    }

    fn take_proof(&mut self) -> std::result::Result<(), Refusal> {
        let other = match self.role {
            Role::Dialer => Role::Acceptor,
            Role::Acceptor => Role::Dialer,
        };
        // `verify_slice` compares in constant time.
        self.proof(other).verify_slice(&self.input).map_err(|_| Refusal::Secret)?;
        self.input.clear();
        self.stage = Stage::Done;
        if self.role == Role::Acceptor {
            self.output = self.proof(Role::Acceptor).finalize().into_bytes().to_vec();
        }
        Ok(())
    }

    fn proof(&self, prover: Role) -> Hmac<Sha256> {
        let (dialer, acceptor) = match self.role {
            Role::Dialer => (&self.ours, &self.theirs),
            Role::Acceptor => (&self.theirs, &self.ours),
        };
        let domain: &[u8] = match prover {
            Role::Dialer => b"dialer",
            Role::Acceptor => b"acceptor",
        };
        self.key.mac(domain, &[dialer, acceptor])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries bytes between two ends until both are done or one refuses.
    fn talk(dialer: &mut Challenge, acceptor: &mut Challenge, piece: usize) -> std::result::Result<(), Refusal> {
        while dialer.wanted() + acceptor.wanted() > 0 {
            for bytes in dialer.take_output().chunks(piece) {
                acceptor.feed(bytes)?;
            }
            for bytes in acceptor.take_output().chunks(piece) {
                dialer.feed(bytes)?;
            }
        }
        Ok(())
    }

    #[test]
    fn ends_with_one_secret_agree_in_any_pieces() {
        for piece in [1, 7, 48] {
            let key = Key::from_secret("notes");
            let mut dialer = Challenge::dialer(key.clone()).unwrap();
            let mut acceptor = Challenge::acceptor(key).unwrap();
            assert_eq!(talk(&mut dialer, &mut acceptor, piece), Ok(()));
        }
    }

    #[test]
    fn another_secret_is_refused_before_the_acceptor_proves_anything() {
        let mut dialer = Challenge::dialer(Key::from_secret("notes")).unwrap();
        let mut acceptor = Challenge::acceptor(Key::from_secret("noise")).unwrap();
        assert_eq!(talk(&mut dialer, &mut acceptor, 48), Err(Refusal::Secret));
        assert!(acceptor.take_output().is_empty());
        assert!(dialer.has_proved());
    }

    #[test]
    fn a_proof_sent_back_or_played_again_is_refused() {
        let key = Key::from_secret("notes");
        let mut dialer = Challenge::dialer(key.clone()).unwrap();
        let preamble = dialer.take_output();
        dialer.feed(&preamble).unwrap();
        let proof = dialer.take_output();
        assert_eq!(dialer.feed(&proof), Err(Refusal::Secret), "a mirror is not a rank");
        let mut acceptor = Challenge::acceptor(key).unwrap();
        acceptor.feed(&preamble).unwrap();
        assert_eq!(acceptor.feed(&proof), Err(Refusal::Secret), "the proof was for other nonces");
        assert!(dialer.wanted() > 0 && acceptor.wanted() > 0, "who is refused has not passed");
    }

    #[test]
    fn strangers_are_known_by_their_first_bytes() {
        let key = Key::from_secret("notes");
        assert_eq!(Challenge::acceptor(key.clone()).unwrap().feed(b"GET / HT"), Err(Refusal::Stranger));
        let mut other_version = Challenge::dialer(key.clone()).unwrap().take_output();
        other_version[8] = 9;
        assert_eq!(Challenge::acceptor(key).unwrap().feed(&other_version), Err(Refusal::Version { theirs: 9 }));
    }

    #[test]
    fn session_keys_depend_on_secret_and_nonce_and_no_key_is_shown() {
        let (a, b) = (Key::from_secret("a"), Key::from_secret("b"));
        assert_ne!(a.of_session(&[1; 32]), a.of_session(&[2; 32]));
        assert_ne!(a.of_session(&[1; 32]), b.of_session(&[1; 32]));
        assert_eq!(format!("{a:?}"), "Key(..)");
    }
}
