//! A message in the outbox, as the ledger keeps it.

use jiff::Timestamp;
use minicbor::{Decode, Encode};
use uuid::Uuid;

use super::message::OutboxMessage;
use crate::ledger::LedgerError;
use crate::protocol::encoding::{self, cbor::millis};
use crate::protocol::{Note, NoteChange};

/// Where its notes stand in the ledger, in the order in which they go out. Those of older versions
/// have a place that begins with a time in hexadecimal digits, and go out first.
pub(super) const PLACES: &str = "outbox/";
/// Where the next one is to stand: behind all that are there when it is recorded.
const NEXT: &str = "outbox/~";

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct OutboxEntry {
    /// Stays the same however often it is sent: what brokers and consumers find a second copy by.
    #[n(0)]
    pub id: String,
    /// When it was given to the outbox.
    #[cbor(n(1), with = "millis")]
    pub at: Timestamp,
    /// The message.
    #[n(2)]
    pub message: OutboxMessage,
    /// Its note's key, which the order goes by.
    #[cbor(skip)]
    pub(super) place: String,
}

impl OutboxEntry {
    pub(super) fn from_note(note: Note) -> Result<Self, LedgerError> {
        match encoding::decode::<Self>(&note.value) {
            Ok(queued) => Ok(Self {
                place: note.key,
                ..queued
            }),
            Err(LedgerError::Record { detail }) => Err(LedgerError::Record {
                detail: format!("{}: {detail}", note.key),
            }),
            Err(other) => Err(other),
        }
    }
}

/// A message's id, which brokers and consumers of all services can tell from others.
pub(crate) fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}

/// A message as a note.
pub(crate) fn note(
    id: String,
    message: OutboxMessage,
    at: Timestamp,
) -> Result<NoteChange, LedgerError> {
    let value = encoding::encode(&OutboxEntry {
        id,
        at,
        message,
        place: String::new(),
    })?;
    Ok(NoteChange::put(NEXT, value))
}
