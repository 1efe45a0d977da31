//! A dead letter: everything that a person needs to judge and repair a message.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use minicbor::{Decode, Encode};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::action::{Action, ActionKind};
use super::attempt::PastAttempt;
use super::origin::Origin;
use super::record::RecordId;
use super::reused::Reused;
use super::sealed::Sealed;
use crate::clock::after;
use crate::json::Json;
use crate::ledger::LedgerError;
use crate::message::redact::{REDACTED, is_redacted};
use crate::protocol::encoding::{self, cbor};
use crate::trace::TraceParent;

/// The id of a dead letter: a UUID of version 7 ([RFC 9562]), so ids sort by the time of death.
///
/// [RFC 9562]: https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct DeadLetterId(
    #[n(0)]
    #[cbor(with = "cbor::uuid")]
    Uuid,
);

impl DeadLetterId {
    /// Returns an id for a letter that is written at `now`.
    pub fn new(now: Timestamp, context: &uuid::ContextV7) -> Self {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(
            context,
            seconds,
            nanoseconds,
        )))
    }

    /// Returns an id for a letter that is written at `now`, in a ledger that gives each fencing
    /// token once: no two letters are of one token.
    pub fn from_token(now: Timestamp, token: u64) -> Self {
        let (mut rest, millis) = ([0; 10], u64::try_from(now.as_millisecond()).unwrap_or(0));
        rest[2..].copy_from_slice(&token.to_be_bytes());
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &rest);
        Self(id.into_uuid())
    }

    /// Returns the 16 bytes of the UUID, which sort as the ids do.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Returns the id of these 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DeadLetterId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A message that does not run again by itself.
///
/// It is written in one atomic write with its record. Open letters never expire.
///
/// If the handler has `redact(…)`, the letter cannot be run from its payload until the redacted
/// parts are filled in, unless they are [sealed](Self::sealed): [`missing`](Self::missing) lists
/// them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The id, which sorts by the time of death.
    #[n(0)]
    pub id: DeadLetterId,
    /// The handler's name in the ledger.
    #[n(1)]
    pub handler: String,
    /// The idempotency key, its parts encoded.
    #[n(2)]
    pub key: String,
    /// The arguments: a JSON object, name to value. For a message that no handler could take, the
    /// message itself.
    #[n(3)]
    #[cbor(with = "cbor::json")]
    pub payload: Json,
    /// The reason of its death.
    #[n(4)]
    pub reason: Reason,
    /// Every attempt of its budget, oldest first.
    #[n(5)]
    pub attempts: Vec<PastAttempt>,
    /// Whether a person still has to act.
    #[n(6)]
    pub state: LetterState,
    /// When the message was first claimed.
    #[n(7)]
    #[cbor(with = "cbor::millis")]
    pub first_seen: Timestamp,
    /// When it died.
    #[n(8)]
    #[cbor(with = "cbor::millis")]
    pub died_at: Timestamp,
    /// When it was redriven or discarded.
    #[n(9)]
    #[cbor(with = "cbor::maybe_millis")]
    pub closed_at: Option<Timestamp>,
    /// The person's reason to redrive or discard it, if they gave one.
    #[n(10)]
    pub closed_why: Option<String>,
    /// The instance that wrote the letter: host, process, and a random part.
    #[n(11)]
    pub instance: String,
    /// The paths that the handler redacts with `redact(…)`, whether this message had them or not:
    /// dotted, an argument's name first, such as `order.buyer.phone`. [`REDACTED`](crate::dead_letters::REDACTED)
    /// stands in the payload for each part that it had, and for each element's where a path leads
    /// through an array; [`missing`](Self::missing) lists them.
    #[n(12)]
    #[cbor(with = "cbor::list", has_nil)]
    #[serde(default)]
    pub redacted: Vec<String>,
    /// What people did with it, oldest action first.
    #[n(13)]
    #[cbor(with = "cbor::list", has_nil)]
    #[serde(default)]
    pub history: Vec<Action>,
    /// Where the message came from, if a broker delivered it.
    #[n(14)]
    #[serde(default)]
    pub origin: Option<Origin>,
    /// Why no handler could take it, if it was [buried](crate::Idem::bury) before any attempt.
    #[n(15)]
    #[serde(default)]
    pub error: Option<String>,
    /// The message's size in bytes, if it was too large and the payload is only its beginning.
    #[n(16)]
    #[serde(default)]
    pub cut_from: Option<u64>,
    /// The number of the handler's arguments, if the payload does not tell: it was edited and
    /// redriven, and no call followed.
    #[n(17)]
    #[serde(default)]
    pub arguments: Option<u32>,
    /// The key of its record, if it is not the message's own: the key of a
    /// [refused](crate::Idem::bury_refused) message stays free, or belongs to another message.
    #[n(18)]
    #[serde(default)]
    pub record_key: Option<String>,
    /// The message that has the key, and the differences, if the [key was
    /// reused](Reason::KeyReused).
    #[n(19)]
    #[serde(default)]
    pub reused: Option<Reused>,
    /// The redacted parts, if the service had a [key](crate::SealKeys) to seal them with: a run and
    /// a republish open them.
    #[n(20)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// The trace that its message was part of: with OpenTelemetry the span of the last call, else
    /// what the message brought.
    #[n(21)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
}

impl DeadLetter {
    /// Returns whether it was closed `retention` ago, so that a ledger removes it. Open letters
    /// never expire.
    pub fn expired(&self, now: Timestamp, retention: Duration) -> bool {
        self.closed_at
            .is_some_and(|closed| now >= after(closed, retention))
    }

    /// Encodes the letter, with the version of its format, for a ledger to store.
    ///
    /// # Errors
    /// [`LedgerError::Other`] when it cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, LedgerError> {
        encoding::encode(self)
    }

    /// Decodes what [`encode`](Self::encode) returned.
    ///
    /// # Errors
    /// [`LedgerError::Record`] when the bytes are damaged, or of a version that this one does not
    /// know.
    pub fn decode(bytes: &[u8]) -> Result<Self, LedgerError> {
        encoding::decode(bytes)
    }

    /// Returns the id of the letter's record.
    pub fn record_id(&self) -> RecordId {
        let key = self.record_key.as_deref().unwrap_or(&self.key);
        RecordId::new(self.handler.as_str(), key)
    }

    /// Returns whether no handler took the message: there was no attempt, and the payload is the
    /// message itself.
    pub fn is_buried(&self) -> bool {
        matches!(
            self.reason,
            Reason::Undecodable | Reason::KeyReused | Reason::Refused
        )
    }

    /// Returns the number of the handler's arguments: each is a field of the payload as it was
    /// first written. An edit may leave out optional ones.
    pub(crate) fn arguments(&self) -> u32 {
        let before = self.history.iter().find_map(|act| match &act.kind {
            ActionKind::Edited(before) => Some(before),
            _ => None,
        });
        let count = || match before
            .unwrap_or(&self.payload)
            .parse::<HashMap<String, IgnoredAny>>()
        {
            Ok(arguments) => u32::try_from(arguments.len()).unwrap_or(u32::MAX),
            Err(_) => 0,
        };
        self.arguments.unwrap_or_else(count)
    }

    /// Returns the text of the last attempt's error, or why no handler could take the message.
    pub fn last_error(&self) -> Option<&str> {
        let attempted = self
            .attempts
            .iter()
            .rev()
            .find_map(|attempt| attempt.error.as_deref());
        attempted.or(self.error.as_deref())
    }

    /// Returns the redacted paths without a value: [`REDACTED`](crate::dead_letters::REDACTED) stands at them in
    /// `payload`, and they are not [sealed](Self::sealed). If there are none, the message is
    /// complete and can be published again.
    ///
    /// In a message that no handler could take, fields are redacted wherever they stand, so all
    /// paths are returned or none.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.missing_in(&self.payload)
    }

    /// Returns the redacted paths without a value in this payload.
    pub(crate) fn missing_in(&self, payload: &Json) -> impl Iterator<Item = &str> {
        let payload = self.with_sealed_places(payload);
        // Its fields need not be where the paths lead.
        let cause = self
            .is_buried()
            .then(|| payload.as_str().contains(REDACTED));
        let lacks = move |path: &str| {
            let text = payload.as_str();
            // A handler with one argument takes that argument's value alone, too.
            let alone = path
                .split_once('.')
                .is_some_and(|(_, rest)| is_redacted(text, rest));
            cause.unwrap_or_else(|| alone || is_redacted(text, path))
        };
        self.redacted
            .iter()
            .map(String::as_str)
            .filter(move |path| lacks(path))
    }

    /// Returns a payload with something in each place that is sealed.
    fn with_sealed_places<'a>(&self, payload: &'a Json) -> Cow<'a, Json> {
        match &self.sealed {
            Some(sealed) if payload.as_str().contains(REDACTED) => Cow::Owned(
                self.filled_in(payload, |place| sealed.has(place).then(|| "0".to_owned())),
            ),
            _ => Cow::Borrowed(payload),
        }
    }

    /// Returns whether a person has changed the payload.
    pub fn is_edited(&self) -> bool {
        self.history
            .iter()
            .any(|act| matches!(act.kind, ActionKind::Edited(_)))
    }

    /// Returns whether its content was [erased](crate::Idem::erase).
    pub fn is_erased(&self) -> bool {
        self.history
            .iter()
            .any(|act| act.kind == ActionKind::Erased)
    }

    /// Returns the message's size in bytes, if the payload is only its beginning and was not
    /// edited.
    pub fn cut_off(&self) -> Option<u64> {
        self.cut_from.filter(|_| !self.is_edited())
    }

    /// Applies a person's action to the letter, and adds it to the history. For ledgers.
    pub fn act(&mut self, mut act: Action) {
        match &mut act.kind {
            ActionKind::Edited(payload) => {
                std::mem::swap(&mut self.payload, payload);
                self.sealed = act.sealed.take();
            }
            ActionKind::Erased => self.erase(&act),
            ActionKind::Redriven => self.close(LetterState::Redriven, &act),
            ActionKind::Discarded => self.close(LetterState::Discarded, &act),
            ActionKind::Restored => {
                (self.state, self.closed_at, self.closed_why) = (LetterState::Open, None, None);
            }
        }
        self.history.push(act);
    }

    /// Removes the content, also that of the history, and closes the letter if it is open.
    fn erase(&mut self, act: &Action) {
        if self.state == LetterState::Open {
            self.close(LetterState::Discarded, act);
        }
        (self.payload, self.sealed) = (Json::from(()), None);
        (self.error, self.reused) = (None, None);
        self.attempts
            .iter_mut()
            .for_each(|attempt| attempt.error = None);
        for past in &mut self.history {
            if let ActionKind::Edited(before) = &mut past.kind {
                *before = Json::from(());
            }
        }
        if let Some(origin) = &mut self.origin {
            origin.headers.clear();
        }
    }

    fn close(&mut self, state: LetterState, act: &Action) {
        (self.state, self.closed_at, self.closed_why) = (state, Some(act.at), act.by.why.clone());
    }
}

/// The reason of a message's death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The last attempt of its budget failed.
    #[n(0)]
    BudgetSpent,
    /// `retry_if` said that the error is permanent.
    #[n(1)]
    PermanentError,
    /// The outcome of an attempt is unknown, and the handler has `on_crash = "bury"`.
    #[n(2)]
    UnknownOutcome,
    /// No call came again within the time to live.
    #[n(3)]
    Abandoned,
    /// The body ran, but its result cannot be recorded: it is not JSON, or cannot be decoded as its
    /// type.
    #[n(4)]
    ResultNotStorable,
    /// No handler could take it: it cannot be decoded.
    #[n(5)]
    Undecodable,
    /// Its key belongs to another message.
    #[n(6)]
    KeyReused,
    /// Its handler refused it before any attempt: it does not have a key, is too large, or its key
    /// was not issued.
    #[n(7)]
    Refused,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::BudgetSpent => "no attempts left",
            Reason::PermanentError => "permanent error",
            Reason::UnknownOutcome => "unknown outcome",
            Reason::Abandoned => "abandoned",
            Reason::ResultNotStorable => "result not storable",
            Reason::Undecodable => "cannot be decoded",
            Reason::KeyReused => "key reused",
            Reason::Refused => "refused",
        })
    }
}

/// Whether a person still has to act on a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LetterState {
    /// The message is dead, and a person has to act.
    #[n(0)]
    Open,
    /// A person redrove it. The letter is history.
    #[n(1)]
    Redriven,
    /// A person closed it without another run. The letter is history.
    #[n(2)]
    Discarded,
}
