//! Notes: small durable values that a ledger keeps beside the records.

use std::borrow::Cow;

use super::letter::DeadLetterId;
use crate::ledger::LedgerError;

/// The longest key of a note, in bytes, its number included.
const LONGEST: usize = 200;
/// At the end of a key, it asks for a number.
pub(crate) const NUMBERED: &str = "/~";
/// The length of a number, in hexadecimal digits.
const DIGITS: usize = 16;

/// A value under a key. Each key begins with its owner's name and a slash.
///
/// A note written under a key that ends in `/~` gets a number behind it, in 16 hexadecimal digits,
/// when it is recorded: `jobs/~` becomes `jobs/~00000000000004d2`. The number is larger than that
/// of every such note that could be read before, and grows within one write from note to note. So
/// such notes are a queue: a reader that goes on after the last note it read misses none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The key, at most 200 bytes.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
}

/// A change of one note.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteChange {
    /// Writes a value under a key.
    Put {
        /// The key, at most 200 bytes.
        key: String,
        /// The value.
        value: Vec<u8>,
    },
    /// Removes the note under a key.
    Delete {
        /// The key.
        key: String,
    },
}

impl NoteChange {
    /// Returns a change that writes a value under a key.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
        }
    }

    /// Returns a change that removes the note under a key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// Returns the value to write, if it writes one.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Put { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }

    /// Returns about how many bytes changes write.
    pub(crate) fn weight(changes: &[Self]) -> usize {
        let values = changes.iter().filter_map(Self::value);
        values.map(<[u8]>::len).sum()
    }

    /// Returns the key as it was given, without a number that it asks for.
    pub fn given_key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// Returns whether its key asks for a number.
    pub fn asks_for_number(&self) -> bool {
        matches!(self, Self::Put { key, .. } if key.ends_with(NUMBERED))
    }

    /// Returns the number that a key to write was given with, as when notes are copied.
    pub fn given_number(&self) -> Option<u64> {
        match self {
            Self::Put { key, .. } => number_of(key),
            Self::Delete { .. } => None,
        }
    }

    /// Returns the key to write or remove: with the `next` number appended if it asks for one. A
    /// ledger takes the number inside the critical section in which it records the change.
    pub fn key(&self, next: impl FnOnce() -> u64) -> Cow<'_, str> {
        let key = self.given_key();
        if self.asks_for_number() {
            return format!("{key}{:0DIGITS$x}", next()).into();
        }
        key.into()
    }

    /// Returns the [key](Self::key) and the value to write under it; without a value the note is
    /// removed.
    pub fn numbered(&self, next: impl FnOnce() -> u64) -> (String, Option<Vec<u8>>) {
        let key = self.key(next).into_owned();
        (key, self.value().map(<[u8]>::to_vec))
    }
}

/// What a guarded write expects of one note.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpectedNote {
    /// The note's key.
    pub key: String,
    /// Its value, or `None` if there is no such note.
    pub value: Option<Vec<u8>>,
}

impl ExpectedNote {
    /// Expects this value under a key.
    pub fn value(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            value: Some(value.into()),
        }
    }

    /// Expects no note under a key.
    pub fn absent(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: None,
        }
    }
}

/// Checks the length of the keys to write. A ledger calls it before it writes. A note under a
/// longer key can still be removed.
///
/// # Errors
/// [`LedgerError::KeyTooLong`] for the first of them.
pub fn check_keys(changes: &[NoteChange]) -> Result<(), LedgerError> {
    for change in changes {
        let NoteChange::Put { key, .. } = change else {
            continue;
        };
        let length = key.len() + if key.ends_with(NUMBERED) { DIGITS } else { 0 };
        if length > LONGEST {
            return Err(LedgerError::KeyTooLong {
                key: key.chars().take(40).collect(),
                length,
                limit: LONGEST,
            });
        }
    }
    Ok(())
}

/// Returns the number in a key, if it has one.
pub(crate) fn number_of(key: &str) -> Option<u64> {
    let (_, digits) = key.rsplit_once(NUMBERED)?;
    (digits.len() == DIGITS).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// Returns the key of the marker that a ledger writes together with each new dead letter. A
/// notifier deletes it in the same write that records the notification; it goes with the letter at
/// the latest.
pub fn unnotified_key(letter: DeadLetterId) -> String {
    format!("untold/{letter}")
}
