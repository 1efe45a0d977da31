//! Notes: small durable values beside the records, as a ledger writes them.

use std::borrow::Cow;

use super::letter::DeadLetterId;
use crate::ledger::LedgerError;

/// The longest key of a note, in bytes, its number included.
const LONGEST: usize = 200;
/// At the end of a key, it asks for a number.
pub(crate) const NUMBERED: &str = "/~";
/// The length of a number, in hexadecimal digits.
const DIGITS: usize = 16;

/// A value under a key. Each key begins with its owner's word and a slash.
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
    /// Writes a value under a key.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
        }
    }

    /// Removes the note under a key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// The value to write, if it writes one.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Put { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }

    /// The key that a ledger makes the change under: with the next number where it asks for one. The
    /// number is taken inside the critical section that the change is recorded in.
    pub fn key(&self, next: impl FnOnce() -> u64) -> Cow<'_, str> {
        match self {
            Self::Put { key, .. } if key.ends_with(NUMBERED) => {
                format!("{key}{:0DIGITS$x}", next()).into()
            }
            Self::Put { key, .. } | Self::Delete { key } => key.into(),
        }
    }
}

/// Refuses keys that are too long, for a ledger. A note under such a key can still be removed.
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

/// The number in a key, if it has one.
#[cfg(feature = "sled")]
pub(crate) fn number_of(key: &str) -> Option<u64> {
    let (_, digits) = key.rsplit_once(NUMBERED)?;
    (digits.len() == DIGITS).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// The key of the marker that a ledger writes together with each new dead letter. A notifier deletes
/// it in the same write that records the notification; it goes with the letter at the latest.
pub fn unnotified_key(letter: DeadLetterId) -> String {
    format!("untold/{letter}")
}
