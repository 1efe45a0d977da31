//! The layout of sled's one tree: each key is a byte for the kind, then an address.
//!
//! - `j` the journal: what each group did, and the claims that run
//! - `l` live records that are not in the journal: waiting for their next attempt, or running for
//!   long
//! - `d` dead records
//! - `s` settled records, by bucket; `b` the closed buckets, `h` the hashes of what is in each
//! - `o` open letters, `z` closed ones, so that a listing reads only the ones it shows
//! - `n` notes
//! - `c` the chunks of large values

use jiff::Timestamp;
use minicbor::{Decode, Encode};

pub(super) use crate::ledger::folder::record_key::RecordKey;
use crate::protocol::DeadLetterId;
use crate::protocol::encoding::cbor;

pub(super) const JOURNAL: u8 = b'j';
pub(super) const LIVE: u8 = b'l';
pub(super) const DEAD: u8 = b'd';
pub(super) const SETTLED: u8 = b's';
pub(super) const BUCKET: u8 = b'b';
pub(super) const HASHES: u8 = b'h';
pub(super) const OPEN_LETTER: u8 = b'o';
pub(super) const CLOSED_LETTER: u8 = b'z';
pub(super) const NOTE: u8 = b'n';
pub(super) const CHUNK: u8 = b'c';

/// The ledger's own numbers, written with every group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Meta {
    /// The group commit that wrote this.
    #[n(0)]
    pub(super) group: u64,
    /// The last number given out: as a fencing token, a chunk's name, or a note's number.
    #[n(1)]
    pub(super) number: u64,
    /// The ledger's opening.
    #[n(2)]
    pub(super) session: u64,
    /// The count of each kind.
    #[n(3)]
    pub(super) counts: Counts,
    /// The last bucket that was opened.
    #[n(4)]
    pub(super) bucket: u32,
    /// The buckets that take what settles.
    #[n(5)]
    pub(super) open: Vec<OpenBucket>,
    /// The seed of the hashes of settled records. It is random, so keys cannot be chosen to
    /// collide.
    #[n(6)]
    pub(super) seed: (u64, u64),
}

impl Meta {
    /// The numbers of a new ledger.
    pub(super) fn fresh() -> Self {
        Self {
            seed: uuid::Uuid::new_v4().as_u64_pair(),
            ..Self::default()
        }
    }
}

/// The number of rows of each kind. It reveals single values that sled lost to damage silently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Counts {
    /// Live records outside the journal.
    #[n(0)]
    pub(super) live: u64,
    #[n(1)]
    pub(super) dead: u64,
    #[n(2)]
    pub(super) open_letters: u64,
    #[n(3)]
    pub(super) closed_letters: u64,
    /// Closed buckets.
    #[n(4)]
    pub(super) buckets: u64,
    #[n(5)]
    #[cbor(default)]
    pub(super) notes: u64,
}

/// The kinds that are counted.
pub(super) const COUNTED: [u8; 6] = [LIVE, DEAD, OPEN_LETTER, CLOSED_LETTER, BUCKET, NOTE];

impl Counts {
    /// Returns the count of a kind.
    pub(super) fn of(&mut self, kind: u8) -> Option<&mut u64> {
        match kind {
            LIVE => Some(&mut self.live),
            DEAD => Some(&mut self.dead),
            OPEN_LETTER => Some(&mut self.open_letters),
            CLOSED_LETTER => Some(&mut self.closed_letters),
            BUCKET => Some(&mut self.buckets),
            NOTE => Some(&mut self.notes),
            _ => None,
        }
    }

    /// Returns whether a count is smaller than in `others`.
    pub(super) fn lack(mut self, mut others: Self) -> bool {
        COUNTED
            .into_iter()
            .any(|kind| self.of(kind) < others.of(kind))
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            live,
            dead,
            open_letters,
            closed_letters,
            buckets,
            notes,
        } = self;
        write!(
            f,
            "{live} live and {dead} dead records, {open_letters} open and {closed_letters} closed letters, {buckets} \
             buckets of results, {notes} notes"
        )
    }
}

/// A bucket that takes records with times to live of about the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct OpenBucket {
    #[n(0)]
    pub(super) id: u32,
    /// The times to live that belong here: how many bits the longest one's milliseconds take.
    #[n(1)]
    pub(super) class: u8,
    #[n(2)]
    #[cbor(with = "cbor::millis")]
    pub(super) since: Timestamp,
    #[n(3)]
    pub(super) stats: BucketStats,
}

/// The size of a bucket, and its expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct BucketStats {
    /// The number of records.
    #[n(0)]
    pub(super) count: u64,
    /// When the last of them expires.
    #[n(1)]
    #[cbor(with = "cbor::millis")]
    pub(super) until: Timestamp,
}

/// A bucket that takes no more records. It does not change until all of them have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct ClosedBucket {
    #[n(0)]
    pub(super) stats: BucketStats,
    /// Whether all of it has expired, and it is being removed in pieces.
    #[n(1)]
    pub(super) dropped: bool,
}

impl RecordKey {
    pub(super) fn in_bucket(&self, bucket: u32) -> Vec<u8> {
        joined(&[&[SETTLED], &bucket.to_be_bytes(), self.bytes()])
    }
}

/// The key of a numbered thing, or the beginning of its keys.
pub(super) fn bucket_key(kind: u8, bucket: u32) -> Vec<u8> {
    joined(&[&[kind], &bucket.to_be_bytes()])
}

/// The key of a list of hashes that begins with this one.
pub(super) fn hashes_key(bucket: u32, first: u64) -> Vec<u8> {
    joined(&[&[HASHES], &bucket.to_be_bytes(), &first.to_be_bytes()])
}

pub(super) fn journal_key(place: u64) -> Vec<u8> {
    joined(&[&[JOURNAL], &place.to_be_bytes()])
}

pub(super) fn letter_key(kind: u8, id: DeadLetterId) -> Vec<u8> {
    joined(&[&[kind], id.as_bytes()])
}

pub(super) fn note_key(key: &str) -> Vec<u8> {
    joined(&[&[NOTE], key.as_bytes()])
}

pub(super) fn chunk_key(name: u64, index: u32) -> Vec<u8> {
    joined(&[&[CHUNK], &name.to_be_bytes(), &index.to_be_bytes()])
}

/// The kind in a key.
pub(super) fn kind_in(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or_default()
}

/// The bytes behind the kind in a key.
pub(super) fn number_in<const N: usize>(key: &[u8]) -> [u8; N] {
    key.get(1..)
        .and_then(|rest| rest.first_chunk().copied())
        .unwrap_or([0; N])
}

/// The bucket in a key.
pub(super) fn bucket_in(key: &[u8]) -> u32 {
    u32::from_be_bytes(number_in(key))
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}
