//! One dead letter: everything a person needs to judge and mend a message.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use minicbor::{Decode, Encode};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::origin::Origin;
use super::record::RecordId;
use super::reused::Reused;
use crate::json::Json;
use crate::message::redact::{REDACTED, is_redacted};
use crate::protocol::encoding::cbor;

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
    /// The id of a letter that is written at `now`.
    pub fn new(now: Timestamp, context: &uuid::ContextV7) -> Self {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(
            context,
            seconds,
            nanoseconds,
        )))
    }

    /// The 16 bytes of the UUID; they sort as the ids do.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// An id from its 16 bytes.
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

/// A message that will not run again by itself.
///
/// With its record's move to Dead it is written in one atomic write. Open letters never expire.
///
/// Where the handler has `redact(…)`, the letter cannot be run again from its payload unless the
/// redacted parts are filled in from elsewhere: [`missing`](Self::missing) says which they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Sorts by the time of death.
    #[n(0)]
    pub id: DeadLetterId,
    /// The handler's name in the ledger.
    #[n(1)]
    pub handler: String,
    /// The idempotency key, its parts encoded.
    #[n(2)]
    pub key: String,
    /// The arguments: a JSON object, name to value. Of a message that no handler could take, the
    /// message itself.
    #[n(3)]
    #[cbor(with = "cbor::json")]
    pub payload: Json,
    /// Why it died.
    #[n(4)]
    pub reason: Reason,
    /// Every attempt of this budget, the first one first.
    #[n(5)]
    pub attempts: Vec<PastAttempt>,
    /// Whether a person still has to act.
    #[n(6)]
    pub state: LetterState,
    /// When the message came first.
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
    /// Why it was redriven or discarded, in a person's words, as far as they said.
    #[n(10)]
    pub closed_why: Option<String>,
    /// The running instance that wrote the letter: host, process, and a random part.
    #[n(11)]
    pub instance: String,
    /// The parts that the handler keeps out of every payload with `redact(…)`, whether this message
    /// had them or not: dotted paths, an argument's name first, such as `order.buyer.phone`.
    /// [`REDACTED`](crate::REDACTED) stands in the payload for each that it had, and for each
    /// element's where a path leads through an array; [`missing`](Self::missing) says which.
    #[n(12)]
    #[cbor(with = "cbor::list", has_nil)]
    #[serde(default)]
    pub redacted: Vec<String>,
    /// What people did with it, the first act first.
    #[n(13)]
    #[cbor(with = "cbor::list", has_nil)]
    #[serde(default)]
    pub history: Vec<Action>,
    /// Where the message came from, where a broker brought it.
    #[n(14)]
    #[serde(default)]
    pub origin: Option<Origin>,
    /// Why no handler could take it, where it was [buried](crate::Idem::bury) before any attempt.
    #[n(15)]
    #[serde(default)]
    pub error: Option<String>,
    /// The message's size in bytes, where it was too large and the payload holds only its
    /// beginning.
    #[n(16)]
    #[serde(default)]
    pub cut_from: Option<u64>,
    /// How many arguments the handler takes, where the payload does not tell: it was edited before
    /// the message was redriven, and nobody came.
    #[n(17)]
    #[serde(default)]
    pub arguments: Option<u32>,
    /// The key of its record, where it is not the message's own: a
    /// [refused](crate::Idem::bury_refused) message's key stays free, or is another message's.
    #[n(18)]
    #[serde(default)]
    pub record_key: Option<String>,
    /// The message that has the key, and where the two differ, where the [key was
    /// reused](Reason::KeyReused).
    #[n(19)]
    #[serde(default)]
    pub reused: Option<Reused>,
}

impl DeadLetter {
    /// What the letter's record is addressed by.
    pub fn record_id(&self) -> RecordId {
        let key = self.record_key.as_deref().unwrap_or(&self.key);
        RecordId::new(self.handler.as_str(), key)
    }

    /// Whether no handler took the message: there was no attempt, and the payload is its bytes.
    pub fn is_buried(&self) -> bool {
        matches!(
            self.reason,
            Reason::Undecodable | Reason::KeyReused | Reason::Refused
        )
    }

    /// How many arguments the handler takes: each is a field of the payload as it was first
    /// written. An edit may leave out those that can be absent.
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

    /// The text of the last attempt's error, else why no handler could take the message.
    pub fn last_error(&self) -> Option<&str> {
        let attempted = self
            .attempts
            .iter()
            .rev()
            .find_map(|attempt| attempt.error.as_deref());
        attempted.or(self.error.as_deref())
    }

    /// The redacted paths that still have no value: [`REDACTED`](crate::REDACTED) stands at them in
    /// `payload`. When there are none, the payload is whole and can be published again.
    ///
    /// Of a message that no handler could take, fields are hidden wherever they stand, so it is all
    /// paths or none.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.missing_in(&self.payload)
    }

    /// The redacted paths that have no value in this payload.
    pub(crate) fn missing_in(&self, payload: &Json) -> impl Iterator<Item = &str> {
        let text = payload.as_str();
        // Its fields need not be where the paths lead.
        let cause = self.is_buried().then(|| text.contains(REDACTED));
        let lacks = move |path: &str| {
            // A handler with one argument takes its value alone, too.
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

    /// Whether a person has changed the payload.
    pub fn is_edited(&self) -> bool {
        self.history
            .iter()
            .any(|act| matches!(act.kind, ActionKind::Edited(_)))
    }

    /// The message's size in bytes, where the payload is its beginning and no person has made it
    /// whole.
    pub fn cut_off(&self) -> Option<u64> {
        self.cut_from.filter(|_| !self.is_edited())
    }

    /// Does to the letter what a person did, and notes it; for those who write a ledger.
    pub fn act(&mut self, mut act: Action) {
        match &mut act.kind {
            ActionKind::Edited(payload) => std::mem::swap(&mut self.payload, payload),
            ActionKind::Redriven => self.close(LetterState::Redriven, &act),
            ActionKind::Discarded => self.close(LetterState::Discarded, &act),
            ActionKind::Restored => {
                (self.state, self.closed_at, self.closed_why) = (LetterState::Open, None, None);
            }
        }
        self.history.push(act);
    }

    fn close(&mut self, state: LetterState, act: &Action) {
        (self.state, self.closed_at, self.closed_why) = (state, Some(act.at), act.by.why.clone());
    }
}

/// What a person did with a letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[non_exhaustive]
pub struct Action {
    /// When.
    #[n(0)]
    #[cbor(with = "cbor::millis")]
    pub at: Timestamp,
    /// Who, and why.
    #[n(1)]
    pub by: Actor,
    /// What.
    #[n(2)]
    pub kind: ActionKind,
}

/// Who did something, and why, as far as they said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Actor {
    /// A person's name.
    #[n(0)]
    pub who: Option<String>,
    /// Their reason.
    #[n(1)]
    pub why: Option<String>,
}

/// What can be done with a letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActionKind {
    /// The key was re-armed.
    #[n(0)]
    Redriven,
    /// The letter was closed without another run.
    #[n(1)]
    Discarded,
    /// A discard was undone.
    #[n(2)]
    Restored,
    /// The payload was changed; this is what it was before.
    #[n(3)]
    Edited(
        #[n(0)]
        #[cbor(with = "cbor::json")]
        Json,
    ),
}

/// Why a message died.
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
    /// An attempt ended with nobody to report it, and the handler has `on_crash = "bury"`.
    #[n(2)]
    UnknownOutcome,
    /// Nobody came back for it within the time to live.
    #[n(3)]
    Abandoned,
    /// It happened, but its result cannot be recorded: it is no JSON, or does not read back as its
    /// type.
    #[n(4)]
    ResultNotStorable,
    /// No handler could take it: it cannot be decoded.
    #[n(5)]
    Undecodable,
    /// Its key is another message's.
    #[n(6)]
    KeyReused,
    /// Its handler refused it before any attempt: it has no key, is too large, or its key was not
    /// issued.
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

/// One attempt that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[non_exhaustive]
pub struct PastAttempt {
    /// From 1.
    #[n(0)]
    pub number: u32,
    /// When it was claimed.
    #[n(1)]
    #[cbor(with = "cbor::millis")]
    pub start: Timestamp,
    /// When its end was reported; nothing where nobody did.
    #[n(2)]
    #[cbor(with = "cbor::maybe_millis")]
    pub end: Option<Timestamp>,
    /// How it ended.
    #[n(3)]
    pub outcome: AttemptOutcome,
    /// The error and its causes as `{:#}` prints them, or the panic's message; at most 4 KiB.
    #[n(4)]
    pub error: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The body returned an error.
    #[n(0)]
    Failed,
    /// The body returned an error that `retry_if` calls permanent.
    #[n(1)]
    Permanent,
    /// The body panicked.
    #[n(2)]
    Panicked,
    /// The body did not return within `timeout`.
    #[n(3)]
    TimedOut,
    /// The call was dropped before the body returned.
    #[n(4)]
    Dropped,
    /// The process died, or could not record how the attempt ended.
    #[n(5)]
    Crashed,
    /// The lease lapsed, and nobody had reported.
    #[n(6)]
    LeaseLapsed,
    /// The body returned a result that cannot be recorded.
    #[n(7)]
    ResultNotStorable,
}

impl AttemptOutcome {
    /// Whether nobody can tell if the body did its work.
    pub fn is_unknown(self) -> bool {
        use AttemptOutcome::{Crashed, Dropped, LeaseLapsed, TimedOut};
        matches!(self, TimedOut | Dropped | Crashed | LeaseLapsed)
    }

    /// The name used in metrics, logs and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptOutcome::Failed => "failed",
            AttemptOutcome::Permanent => "permanent",
            AttemptOutcome::Panicked => "panicked",
            AttemptOutcome::TimedOut => "timed_out",
            AttemptOutcome::Dropped => "dropped",
            AttemptOutcome::Crashed => "crashed",
            AttemptOutcome::LeaseLapsed => "lease_lapsed",
            AttemptOutcome::ResultNotStorable => "result_not_storable",
        }
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ActionKind {
    /// The name used in logs and JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            ActionKind::Redriven => "redriven",
            ActionKind::Discarded => "discarded",
            ActionKind::Restored => "restored",
            ActionKind::Edited(_) => "edited",
        }
    }
}

/// Whether a person still has to act on a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LetterState {
    /// The message is dead, and nobody has acted.
    #[n(0)]
    Open,
    /// A person re-armed the key; this letter is history.
    #[n(1)]
    Redriven,
    /// A person closed it without another run; this letter is history.
    #[n(2)]
    Discarded,
}
