//! A message in the outbox, as the ledger keeps it.

use jiff::Timestamp;
use minicbor::{Decode, Encode};
use uuid::Uuid;

use super::message::OutboxMessage;
use crate::ledger::LedgerError;
use crate::protocol::encoding::{self, cbor::millis};
use crate::protocol::{Note, NoteChange};

/// The prefix of its notes, whose keys are in sending order. Keys of older versions begin with a
/// time in hexadecimal digits, and come first.
pub(super) const PLACES: &str = "outbox/";
/// The key under which the next message is recorded, after all others.
const NEXT: &str = "outbox/~";

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct OutboxEntry {
    /// The message's id. It stays the same however often the message is sent, so that brokers and
    /// consumers recognise a second copy.
    #[n(0)]
    pub id: String,
    /// When it was added.
    #[cbor(n(1), with = "millis")]
    pub at: Timestamp,
    /// The message.
    #[n(2)]
    pub message: OutboxMessage,
    /// The key of its note, which is its place in the order.
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

/// Returns a new id, unique among the messages of all services.
pub(crate) fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Returns the note that records a message.
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
