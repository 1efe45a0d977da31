//! The layout of fjall's one keyspace: each key is a byte for the kind, then an address.
//!
//! - `m` the ledger's own numbers, written with every group
//! - `r` the rows of records
//! - `d` when a live row is due; `w` when the message of a row that waits first came
//! - `o` which rows got an owner in a group: a list, which goes when none of them has it any more
//! - `e` which rows are to be removed, and when the first of them is: a list for those of a group that are
//!   due at about the same time
//! - `l` letters; `q` the open ones among them, `z` when one of the others was closed
//! - `n` notes
//!
//! A first call so writes two rows, and shares the rest with those of its groups.

use jiff::Timestamp;

use crate::ledger::LedgerError;
use crate::ledger::folder::record_key::RecordKey;
use crate::ledger::shared::Write;
use crate::protocol::{DeadLetter, DeadLetterId, Record, RecordId};

pub(super) const META: &[u8] = b"m";
pub(super) const ROW: u8 = b'r';
pub(super) const DUE: u8 = b'd';
pub(super) const WAITING: u8 = b'w';
pub(super) const OWNED: u8 = b'o';
pub(super) const EXPIRING: u8 = b'e';
pub(super) const LETTER: u8 = b'l';
pub(super) const OPEN: u8 = b'q';
pub(super) const CLOSED: u8 = b'z';
pub(super) const NOTE: u8 = b'n';

/// The ledger's own numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    /// The group commit that wrote this.
    pub(super) group: u64,
    /// The last number that was reserved.
    pub(super) reserved: u64,
    /// The last number of a note.
    pub(super) noted: u64,
    /// A name that no other folder has, except for copies of it.
    pub(super) name: u128,
}

impl Meta {
    /// Returns the numbers of a new ledger.
    pub(super) fn fresh() -> Self {
        Self {
            group: 0,
            reserved: 0,
            noted: 0,
            name: uuid::Uuid::new_v4().as_u128(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = [self.group, self.reserved, self.noted].map(u64::to_be_bytes);
        [&[FORMAT], numbers.as_flattened(), &self.name.to_be_bytes()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        (bytes.take::<1>()? == [FORMAT]).then_some(())?;
        Some(Self {
            group: bytes.number()?,
            reserved: bytes.number()?,
            noted: bytes.number()?,
            name: u128::from_be_bytes(bytes.take()?),
        })
    }
}

/// The version of what is written here.
const FORMAT: u8 = 1;

/// Which parts follow the version of a row.
const HAS_DUE: u8 = 1;
const HAS_WAITING: u8 = 2;
const HAS_OWNER: u8 = 4;
const HAS_ID: u8 = 8;
const HAS_RECORD: u8 = 16;
const IS_LIVE: u8 = 32;
const NO_OTHER: u8 = !63;

/// A row as it is stored.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    pub(super) version: u64,
    pub(super) is_live: bool,
    pub(super) due: Option<i64>,
    pub(super) waiting: Option<i64>,
    pub(super) owner: Option<&'a str>,
    /// The id, unless the row's address has it.
    id: Option<RecordId>,
    record: Option<&'a [u8]>,
}

impl<'a> Stored<'a> {
    pub(super) fn read(row: &'a [u8]) -> Result<Self, LedgerError> {
        Self::parse(row).ok_or_else(|| LedgerError::Record {
            detail: "its row has another format".to_owned(),
        })
    }

    fn parse(row: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(row);
        let [parts] = bytes.take()?;
        let has = |part: u8| parts & part != 0;
        if has(NO_OTHER) {
            return None;
        }
        let version = bytes.number()?;
        let due = if has(HAS_DUE) {
            Some(bytes.number()?)
        } else {
            None
        };
        let waiting = if has(HAS_WAITING) {
            Some(bytes.number()?)
        } else {
            None
        };
        let owner = if has(HAS_OWNER) {
            Some(bytes.text()?)
        } else {
            None
        };
        let id = match has(HAS_ID) {
            true => Some(RecordId::new(bytes.text()?, bytes.text()?)),
            false => None,
        };
        Some(Self {
            version,
            is_live: has(IS_LIVE),
            due: due.map(u64::cast_signed),
            waiting: waiting.map(u64::cast_signed),
            owner,
            id,
            record: has(HAS_RECORD).then_some(bytes.0),
        })
    }

    pub(super) fn record(&self) -> Result<Option<Record>, LedgerError> {
        self.record.map(Record::decode).transpose()
    }

    /// Returns the id of the row at this address.
    pub(super) fn id(self, address: &RecordKey) -> Result<RecordId, LedgerError> {
        address.id().or(self.id).ok_or_else(|| LedgerError::Record {
            detail: "its row has no id".to_owned(),
        })
    }
}

/// Encodes the row of a write.
pub(super) fn encode(write: &Write, address: &RecordKey) -> Vec<u8> {
    let has_id = address.id().is_none();
    let record = write.record.as_deref();
    let parts = [
        (write.due.is_some(), HAS_DUE),
        (write.waiting.is_some(), HAS_WAITING),
        (write.owner.is_some(), HAS_OWNER),
        (has_id, HAS_ID),
        (record.is_some(), HAS_RECORD),
        (write.live, IS_LIVE),
    ];
    let parts = parts
        .iter()
        .filter(|(has, _)| *has)
        .map(|(_, part)| part)
        .sum();
    let mut row = Vec::with_capacity(64 + record.map_or(0, <[u8]>::len));
    row.push(parts);
    row.extend_from_slice(&write.version.to_be_bytes());
    for time in [write.due, write.waiting].into_iter().flatten() {
        row.extend_from_slice(&time.as_microsecond().to_be_bytes());
    }
    let mut text = |text: &str| {
        row.extend_from_slice(&(text.len() as u64).to_be_bytes());
        row.extend_from_slice(text.as_bytes());
    };
    write.owner.as_deref().map(&mut text);
    if has_id {
        text(&write.id.handler);
        text(&write.id.key);
    }
    row.extend_from_slice(record.unwrap_or_default());
    row
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

/// Returns a time as it is stored.
pub(super) fn time(stored: i64) -> Timestamp {
    Timestamp::from_microsecond(stored).unwrap_or(Timestamp::MAX)
}

/// Returns the key of a time in an index, or the beginning of the keys of that time: they are in the
/// order of the times.
pub(super) fn time_key(kind: u8, micros: i64, address: &[u8]) -> Vec<u8> {
    let ordered = micros.cast_unsigned() ^ (1 << 63);
    [&[kind], &ordered.to_be_bytes()[..], address].concat()
}

/// Returns the address behind the time in a key.
pub(super) fn address_in(key: &[u8]) -> &[u8] {
    key.get(9..).unwrap_or_default()
}

/// Returns the time in a key.
pub(super) fn time_in(key: &[u8]) -> i64 {
    (number_in(key) ^ (1 << 63)).cast_signed()
}

/// Returns the key of a list of rows that got an owner in a group.
pub(super) fn owned_key(group: u64) -> Vec<u8> {
    [&[OWNED], &group.to_be_bytes()[..]].concat()
}

/// Returns the number in a key.
pub(super) fn number_in(key: &[u8]) -> u64 {
    let number = key.get(1..9).and_then(|number| number.try_into().ok());
    u64::from_be_bytes(number.unwrap_or_default())
}

/// Adds an address to a list.
pub(super) fn add_to_list(list: &mut Vec<u8>, address: &RecordKey) {
    // An address has at most 201 bytes.
    list.push(address.bytes().len() as u8);
    list.extend_from_slice(address.bytes());
}

/// Returns the addresses of a list. What cannot be read ends it.
pub(super) fn in_list(mut list: &[u8]) -> impl Iterator<Item = RecordKey> {
    std::iter::from_fn(move || {
        let (length, rest) = list.split_first()?;
        let (address, rest) = rest.split_at_checked(usize::from(*length))?;
        list = rest;
        Some(RecordKey::from_bytes(address))
    })
}

pub(super) fn letter_key(id: DeadLetterId) -> Vec<u8> {
    [&[LETTER], &id.as_bytes()[..]].concat()
}

/// Returns the key of the index that a letter stands in.
pub(super) fn index_key(letter: &DeadLetter) -> Vec<u8> {
    match letter.closed_at {
        None => [&[OPEN], &letter.id.as_bytes()[..]].concat(),
        Some(at) => time_key(CLOSED, at.as_microsecond(), letter.id.as_bytes()),
    }
}

pub(super) fn note_key(key: &str) -> Vec<u8> {
    [&[NOTE], key.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::shared::Runner;

    #[test]
    fn a_row_is_read_as_it_was_encoded() {
        for (id, parts) in [
            ("A", 0_u8),
            ("A", 7),
            ("A", 2),
            (&*"x".repeat(300), 7),
            (&*"x".repeat(300), 0),
        ] {
            let id = RecordId::new("handler", id);
            let at = |part: u8, time: i64| (parts & part != 0).then(|| time_of(time));
            let write = Write {
                due: at(1, -7),
                waiting: at(2, 9),
                live: parts & 4 != 0,
                owner: (parts & 4 != 0).then(|| Runner::from("runner")),
                ..Write::new(id.clone(), None, 77)
            };
            let address = RecordKey::new(&id);
            let row = encode(&write, &address);
            let stored = Stored::read(&row).unwrap();
            assert_eq!((stored.version, stored.is_live), (77, write.live));
            assert_eq!(stored.due.map(time), write.due);
            assert_eq!(stored.waiting.map(time), write.waiting);
            assert_eq!(stored.owner, write.owner.as_deref());
            assert_eq!(stored.record().unwrap(), None);
            assert_eq!(stored.id(&address).unwrap(), id);
            for cut in 0..row.len() {
                assert!(
                    Stored::read(&row[..cut]).is_err(),
                    "{cut} bytes of it were read"
                );
            }
        }
        assert!(Stored::read(&[255; 40]).is_err());
    }

    fn time_of(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(micros).unwrap()
    }

    #[test]
    fn times_are_in_order() {
        let keys = [i64::MIN, -1, 0, 1, i64::MAX].map(|time| time_key(DUE, time, b"A"));
        assert!(keys.is_sorted());
        assert!(keys.iter().all(|key| address_in(key) == b"A"));
        assert!(keys.map(|key| time_in(&key)).is_sorted());
    }

    #[test]
    fn a_list_has_what_was_added() {
        let addresses =
            ["A", "B", &*"x".repeat(199)].map(|key| RecordKey::new(&RecordId::new("h", key)));
        let mut list = Vec::new();
        addresses
            .iter()
            .for_each(|address| add_to_list(&mut list, address));
        assert!(in_list(&list).eq(addresses));
        assert_eq!(in_list(&list[..list.len() - 1]).count(), 2);
    }

    #[test]
    fn numbers_are_read_as_they_were_encoded() {
        let meta = Meta {
            group: 1,
            reserved: 2,
            noted: 3,
            ..Meta::fresh()
        };
        assert_eq!(Meta::decode(&meta.encode()), Some(meta));
    }
}
