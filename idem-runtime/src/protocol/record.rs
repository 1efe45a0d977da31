//! What a ledger remembers of one key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use super::letter::{DeadLetter, DeadLetterId, PastAttempt, Reason};
use super::origin::Origin;
use super::reused::Reused;
use crate::protocol::encoding::cbor;

/// What a record is addressed by: the handler's name and the idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct RecordId {
    /// The handler's name in the ledger.
    pub handler: Arc<str>,
    /// The idempotency key, its parts encoded.
    pub key: Arc<str>,
}

impl RecordId {
    /// Returns the id of a handler's record of a key.
    pub fn new(handler: impl Into<Arc<str>>, key: impl Into<Arc<str>>) -> Self {
        Self {
            handler: handler.into(),
            key: key.into(),
        }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handler `{}`, key `{}`", self.handler, self.key)
    }
}

/// The hash of what must match for a key to be used again: 128 bits of BLAKE3 over canonical JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Fingerprint(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

/// A key's record: worked on, or settled. A key without one is absent.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// Running or waiting for its next attempt.
    Live(Live),
    /// Done, dead or discarded.
    Settled(Settled),
}

/// A message that is being worked on. It holds its own payload, so that a letter can be written for
/// a process that died.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[non_exhaustive]
pub struct Live {
    /// The handler's name.
    #[n(0)]
    #[cbor(with = "cbor::text")]
    pub handler: Arc<str>,
    /// The idempotency key.
    #[n(1)]
    #[cbor(with = "cbor::text")]
    pub key: Arc<str>,
    /// The fencing token of the last claim.
    #[n(2)]
    pub token: u64,
    /// What a duplicate must match.
    #[n(3)]
    pub fingerprint: Option<Fingerprint>,
    /// What the last claim allows; the next one brings its own.
    #[n(4)]
    pub budget: Budget,
    /// The arguments: a JSON object, name to value.
    #[n(5)]
    #[cbor(with = "cbor::bytes")]
    pub payload: Arc<[u8]>,
    /// The attempts that ended.
    #[n(6)]
    pub past: Vec<PastAttempt>,
    /// When the message came first.
    #[n(7)]
    #[cbor(with = "cbor::millis")]
    pub first_seen: Timestamp,
    /// What it is doing now.
    #[n(8)]
    pub phase: Phase,
    /// The dotted paths into the payload that the handler redacts, whether something was there or
    /// not; nothing where it redacts none.
    #[n(9)]
    #[cbor(with = "cbor::shared_list", has_nil)]
    pub redacted: Option<Arc<[String]>>,
    /// Where it came from, as far as the last claim that knew said.
    #[n(10)]
    #[cbor(with = "cbor::shared", has_nil)]
    pub origin: Option<Arc<Origin>>,
    /// What a person re-armed, until an attempt of it has ended.
    #[n(11)]
    pub redriven: Option<Box<RedrivenFrom>>,
}

impl Live {
    /// Returns a record without an attempt, whose first one may start at once. Its token is 0; the
    /// fields that are not given are empty.
    pub fn new(id: &RecordId, payload: Arc<[u8]>, budget: Budget, first_seen: Timestamp) -> Self {
        Self {
            handler: Arc::clone(&id.handler),
            key: Arc::clone(&id.key),
            token: 0,
            fingerprint: None,
            budget,
            payload,
            past: Vec::new(),
            first_seen,
            phase: Phase::Waiting {
                since: first_seen,
                until: first_seen,
            },
            redacted: None,
            origin: None,
            redriven: None,
        }
    }
}

/// A dead record that was re-armed, with what it needs to be dead again as it was.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct RedrivenFrom {
    /// Its letter.
    #[n(0)]
    pub letter: DeadLetterId,
    /// What a duplicate had to match.
    #[n(1)]
    pub fingerprint: Option<Fingerprint>,
    /// How many attempts there were.
    #[n(2)]
    pub attempts: u32,
    /// What the letter says of a message that no handler could take.
    #[n(3)]
    pub cause: Option<BuryCause>,
    /// How many arguments the handler takes: the letter's payload may have been edited.
    #[n(4)]
    pub arguments: Option<u32>,
}

impl RedrivenFrom {
    /// Returns the dead record of a letter, without a fingerprint.
    pub fn new(letter: DeadLetterId, attempts: u32) -> Self {
        Self {
            letter,
            fingerprint: None,
            attempts,
            cause: None,
            arguments: None,
        }
    }
}

/// Of a message that no handler took.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct BuryCause {
    /// What is wrong with it.
    #[n(0)]
    pub error: String,
    /// The message's size in bytes, where the payload holds only its beginning.
    #[n(1)]
    pub cut_from: Option<u64>,
    /// What the letter gives as the reason; nothing where it cannot be decoded.
    #[n(2)]
    pub reason: Option<Reason>,
    /// The key that the message came with, where its record has another one.
    #[n(3)]
    pub key: Option<String>,
    /// What is known of the message that has that key.
    #[n(4)]
    pub reused: Option<Box<Reused>>,
}

impl BuryCause {
    /// Of a message that cannot be decoded.
    pub fn undecodable(error: impl Into<String>, cut_from: Option<u64>) -> Self {
        Self {
            error: error.into(),
            cut_from,
            reason: None,
            key: None,
            reused: None,
        }
    }

    /// Of a letter, where no handler took its message.
    pub(crate) fn of(letter: &DeadLetter) -> Option<Self> {
        Some(Self {
            error: letter.error.clone()?,
            cut_from: letter.cut_from,
            reason: Some(letter.reason),
            key: letter.record_key.is_some().then(|| letter.key.clone()),
            reused: letter.reused.clone().map(Box::new),
        })
    }

    /// Says of its letter what is kept of it here.
    pub(super) fn tell(self, letter: &mut DeadLetter) {
        let Self {
            error,
            cut_from,
            reason,
            key,
            reused,
        } = self;
        letter.reason = reason.unwrap_or(Reason::Undecodable);
        (letter.error, letter.cut_from, letter.reused) =
            (Some(error), cut_from, reused.map(|reused| *reused));
        if let Some(key) = key {
            letter.record_key = Some(std::mem::replace(&mut letter.key, key));
        }
    }
}

/// What a live message is doing.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Phase {
    /// An attempt is running.
    #[n(0)]
    Running {
        /// The attempt's number, from 1.
        #[n(0)]
        number: u32,
        /// When it was claimed.
        #[n(1)]
        #[cbor(with = "cbor::millis")]
        since: Timestamp,
        /// The running instance that holds it.
        #[n(2)]
        #[cbor(with = "cbor::text")]
        owner: Arc<str>,
        /// The opening of the ledger in which it was claimed; 0 in a ledger that many processes
        /// share.
        #[n(3)]
        session: u64,
        /// When the lease lapses unless renewed.
        #[n(4)]
        #[cbor(with = "cbor::millis")]
        until: Timestamp,
    },
    /// An attempt failed, and the next one is not to come before a pause has passed.
    #[n(1)]
    Waiting {
        /// When the last attempt ended, or was found to have.
        #[n(0)]
        #[cbor(with = "cbor::millis")]
        since: Timestamp,
        /// When the next one may start.
        #[n(1)]
        #[cbor(with = "cbor::millis")]
        until: Timestamp,
    },
}

/// How often a message may run, and how long it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct Budget {
    /// Retries after the first attempt.
    #[n(0)]
    pub retries: u32,
    /// What an attempt with an unknown outcome leads to.
    #[n(1)]
    pub on_crash: OnCrash,
    /// How long a result is remembered, and an abandoned message waited for.
    #[n(2)]
    #[cbor(with = "cbor::duration")]
    pub ttl: Duration,
}

/// What an attempt with an unknown outcome leads to: its process died, its lease was lost, or its
/// call was dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnCrash {
    /// Another attempt, within the budget.
    #[default]
    Rerun,
    /// A dead letter at once.
    Bury,
}

// Stored as a `bool`: whether it is buried.
impl<C> Encode<C> for OnCrash {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bool(*self == Self::Bury)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for OnCrash {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Ok(if d.bool()? { Self::Bury } else { Self::Rerun })
    }
}

impl Budget {
    /// Returns a budget of one attempt and `retries` more, which counts an attempt with an unknown
    /// outcome as a failed one.
    pub fn new(retries: u32, ttl: Duration) -> Self {
        Self {
            retries,
            on_crash: OnCrash::default(),
            ttl,
        }
    }

    /// Sets what an attempt with an unknown outcome leads to.
    #[must_use]
    pub fn on_crash(mut self, on_crash: OnCrash) -> Self {
        self.on_crash = on_crash;
        self
    }

    /// How many attempts there are in all.
    pub fn attempts(&self) -> u32 {
        self.retries.saturating_add(1)
    }
}

/// A message that came to its end.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[non_exhaustive]
pub struct Settled {
    /// The fencing token of the claim that settled it.
    #[n(0)]
    pub token: u64,
    /// What a duplicate must match.
    #[n(1)]
    pub fingerprint: Option<Fingerprint>,
    /// When it settled.
    #[n(2)]
    #[cbor(with = "cbor::millis")]
    pub at: Timestamp,
    /// How long a result is remembered.
    #[n(3)]
    #[cbor(with = "cbor::duration")]
    pub ttl: Duration,
    /// How many attempts there were.
    #[n(4)]
    pub attempts: u32,
    /// Its end.
    #[n(5)]
    pub end: Settlement,
}

/// The end a message came to.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[non_exhaustive]
pub enum Settlement {
    /// The body's result is recorded.
    #[n(0)]
    Done(#[n(0)] StoredResult),
    /// A dead letter is open.
    #[n(1)]
    Dead(#[n(0)] DeadLetterId),
    /// A person closed the dead letter without another run.
    #[n(2)]
    Discarded(#[n(0)] DeadLetterId),
    /// The key was issued, and no message with it is this record's: handlers have their own.
    #[n(3)]
    Issued,
}

/// A recorded result.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[non_exhaustive]
pub enum StoredResult {
    /// The result as JSON.
    #[n(0)]
    Json(
        #[n(0)]
        #[cbor(with = "cbor::bytes")]
        Arc<[u8]>,
    ),
    /// It happened, but it was larger than the limit: how large, in bytes.
    #[n(1)]
    TooLarge(#[n(0)] u64),
}

impl Settled {
    /// Returns a record that a claim's holder settled, without a fingerprint.
    pub fn new(token: u64, at: Timestamp, ttl: Duration, attempts: u32, end: Settlement) -> Self {
        Self {
            token,
            fingerprint: None,
            at,
            ttl,
            attempts,
            end,
        }
    }

    /// Whether its time to live has passed. A dead letter's never does.
    pub fn expired(&self, now: Timestamp) -> bool {
        !matches!(self.end, Settlement::Dead(_)) && now >= crate::clock::after(self.at, self.ttl)
    }
}

impl Record {
    /// The record as a live one.
    #[cfg(feature = "sled")]
    pub(crate) fn live(self) -> Option<Live> {
        match self {
            Record::Live(live) => Some(live),
            Record::Settled(_) => None,
        }
    }

    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Record::Live(live) => live.fingerprint,
            Record::Settled(settled) => settled.fingerprint,
        }
    }
}
