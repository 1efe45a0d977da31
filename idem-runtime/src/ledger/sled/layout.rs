//! Where things are in the one tree: a byte for the kind, then what it is addressed by.
//!
//! Live and settled records are apart, so that opening and sweeping look at the few live ones, however many results
//! are remembered; and open letters are apart from closed ones, so that listing them costs what there is to see.

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::protocol::{DeadLetterId, RecordId};

pub(super) const META: &[u8] = b"m";
pub(super) const LIVE: u8 = b'l';
pub(super) const SETTLED: u8 = b's';
pub(super) const OPEN_LETTER: u8 = b'o';
pub(super) const CLOSED_LETTER: u8 = b'z';
pub(super) const CHUNK: u8 = b'c';

/// Longer names and keys are hashed: sled puts tree nodes past 128 KiB into files that it never syncs, and an index
/// node holds up to 256 keys.
const LONGEST_PLAIN: usize = 200;

/// The ledger's own numbers, written with every group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Meta {
    /// The group commit that wrote this.
    #[n(0)]
    pub(super) group: u64,
    /// The last number given out as a fencing token or a chunk's name.
    #[n(1)]
    pub(super) number: u64,
    /// The ledger's opening.
    #[n(2)]
    pub(super) session: u64,
    /// How much there is of each kind.
    #[n(3)]
    pub(super) counts: Counts,
}

/// How many records and letters there are. sled can lose single ones to damage without a word: the count tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Counts {
    #[n(0)]
    pub(super) live: u64,
    #[n(1)]
    pub(super) settled: u64,
    #[n(2)]
    pub(super) open_letters: u64,
    #[n(3)]
    pub(super) closed_letters: u64,
}

impl Counts {
    /// The count of a kind; chunks and the ledger's own numbers are not counted.
    pub(super) fn of(&mut self, kind: u8) -> Option<&mut u64> {
        match kind {
            LIVE => Some(&mut self.live),
            SETTLED => Some(&mut self.settled),
            OPEN_LETTER => Some(&mut self.open_letters),
            CLOSED_LETTER => Some(&mut self.closed_letters),
            _ => None,
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { live, settled, open_letters, closed_letters } = self;
        write!(f, "{live} live and {settled} settled records, {open_letters} open and {closed_letters} closed letters")
    }
}

/// A record's address within its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Slot(Vec<u8>);

impl Slot {
    pub(super) fn of(id: &RecordId) -> Self {
        let (handler, key) = (id.handler.as_bytes(), id.key.as_bytes());
        match u8::try_from(handler.len()) {
            Ok(length) if length > 0 && handler.len() + key.len() <= LONGEST_PLAIN => {
                let mut slot = Vec::with_capacity(1 + handler.len() + key.len());
                slot.push(length);
                slot.extend_from_slice(handler);
                slot.extend_from_slice(key);
                Self(slot)
            }
            _ => {
                let mut hash = Sha256::new();
                hash.update((handler.len() as u64).to_be_bytes());
                hash.update(handler);
                hash.update(key);
                let mut slot = vec![0];
                slot.extend_from_slice(&hash.finalize());
                Self(slot)
            }
        }
    }

    /// The slot in a record's sled key.
    pub(super) fn in_key(key: &[u8]) -> Self {
        Self(key.get(1..).unwrap_or_default().to_vec())
    }

    pub(super) fn key(&self, kind: u8) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + self.0.len());
        key.push(kind);
        key.extend_from_slice(&self.0);
        key
    }
}

pub(super) fn letter_key(kind: u8, id: DeadLetterId) -> Vec<u8> {
    let mut key = Vec::with_capacity(17);
    key.push(kind);
    key.extend_from_slice(id.as_bytes());
    key
}

pub(super) fn chunk_key(name: u64, index: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(13);
    key.push(CHUNK);
    key.extend_from_slice(&name.to_be_bytes());
    key.extend_from_slice(&index.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(handler: &str, key: &str) -> RecordId {
        RecordId { handler: handler.into(), key: key.into() }
    }

    #[test]
    fn handler_and_key_cannot_run_into_each_other() {
        assert_ne!(Slot::of(&id("ab", "c")), Slot::of(&id("a", "bc")));
        let (long, longer) = ("x".repeat(300), "x".repeat(301));
        assert_ne!(Slot::of(&id(&long, &longer)), Slot::of(&id(&longer, &long)));
        assert_eq!(Slot::of(&id(&long, &longer)).0.len(), 33);
    }
}
