//! The record of one key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use super::attempt::PastAttempt;
use super::letter::{DeadLetter, DeadLetterId, Reason};
use super::origin::Origin;
use super::reused::Reused;
use super::sealed::Sealed;
use crate::clock::after;
use crate::ledger::LedgerError;
use crate::protocol::encoding::{self, cbor};
use crate::trace::TraceParent;

/// The address of a record: the handler's name and the idempotency key.
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

/// The hash of the arguments that must be equal in every message with one key: 128 bits of BLAKE3
/// over canonical JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Fingerprint(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

/// A key's record. A key without a record is absent.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Record {
    /// Running or waiting for its next attempt.
    #[n(0)]
    Live(#[n(0)] Live),
    /// Done, dead, discarded or issued.
    #[n(1)]
    Settled(#[n(0)] Settled),
}

/// A message that is running or waiting. It has its own payload, so that a letter can be written
/// after its process died.
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
    /// The fingerprint that a duplicate must have, if one is compared.
    #[n(3)]
    pub fingerprint: Option<Fingerprint>,
    /// The budget of the last claim. The next claim replaces it.
    #[n(4)]
    pub budget: Budget,
    /// The arguments: a JSON object, name to value.
    #[n(5)]
    #[cbor(with = "cbor::bytes")]
    pub payload: Arc<[u8]>,
    /// The attempts that ended.
    #[n(6)]
    pub past: Vec<PastAttempt>,
    /// When the message was first claimed.
    #[n(7)]
    #[cbor(with = "cbor::millis")]
    pub first_seen: Timestamp,
    /// Whether it runs or waits.
    #[n(8)]
    pub phase: Phase,
    /// The dotted paths into the payload that the handler redacts, whether the payload had them or
    /// not. `None` if it redacts nothing.
    #[n(9)]
    #[cbor(with = "cbor::shared_list", has_nil)]
    pub redacted: Option<Arc<[String]>>,
    /// Where it came from, as the last claim with an origin said.
    #[n(10)]
    #[cbor(with = "cbor::shared", has_nil)]
    pub origin: Option<Arc<Origin>>,
    /// The dead record that was redriven, until an attempt of it has ended.
    #[n(11)]
    pub redriven: Option<Box<RedrivenFrom>>,
    /// The redacted parts, if the last claim had a key to seal them with.
    #[n(12)]
    #[cbor(with = "cbor::shared", has_nil)]
    pub sealed: Option<Arc<Sealed>>,
    /// The trace that it is part of, as the last claim with one said.
    #[n(13)]
    pub trace: Option<TraceParent>,
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
            sealed: None,
            trace: None,
        }
    }

    /// Returns the size of what the message itself takes in the record, in bytes.
    #[cfg(feature = "sled")]
    pub(crate) fn weight(&self) -> usize {
        self.payload.len() + self.sealed.as_ref().map_or(0, |sealed| sealed.weight())
    }
}

/// A dead record that was redriven, with the fields to restore it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct RedrivenFrom {
    /// Its letter.
    #[n(0)]
    pub letter: DeadLetterId,
    /// The fingerprint that a duplicate had to have.
    #[n(1)]
    pub fingerprint: Option<Fingerprint>,
    /// The number of attempts.
    #[n(2)]
    pub attempts: u32,
    /// The cause of a message that was buried.
    #[n(3)]
    pub cause: Option<BuryCause>,
    /// The number of the handler's arguments. The letter's payload, which may have been edited,
    /// does not tell.
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

/// Why a message was buried before any attempt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct BuryCause {
    /// The error's text.
    #[n(0)]
    pub error: String,
    /// The message's size in bytes, if the payload is only its beginning.
    #[n(1)]
    pub cut_from: Option<u64>,
    /// The letter's reason; `None` for [`Reason::Undecodable`].
    #[n(2)]
    pub reason: Option<Reason>,
    /// The message's own key, if its record has another one.
    #[n(3)]
    pub key: Option<String>,
    /// The other message with that key, if the key was reused.
    #[n(4)]
    pub reused: Option<Box<Reused>>,
}

impl BuryCause {
    /// Returns the cause of a message that cannot be decoded. `cut_from` is its size in bytes, if
    /// the payload is only its beginning.
    pub fn undecodable(error: impl Into<String>, cut_from: Option<u64>) -> Self {
        Self {
            error: error.into(),
            cut_from,
            reason: None,
            key: None,
            reused: None,
        }
    }

    /// Returns the cause that a letter shows, if its message was buried.
    pub(crate) fn from_letter(letter: &DeadLetter) -> Option<Self> {
        Some(Self {
            error: letter.error.clone()?,
            cut_from: letter.cut_from,
            reason: Some(letter.reason),
            key: letter.record_key.is_some().then(|| letter.key.clone()),
            reused: letter.reused.clone().map(Box::new),
        })
    }

    /// Writes the cause into its letter.
    pub(super) fn write_to(self, letter: &mut DeadLetter) {
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

/// The phase of a live message.
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
        /// The instance that holds the claim.
        #[n(2)]
        #[cbor(with = "cbor::text")]
        owner: Arc<str>,
        /// The opening of the ledger in which it was claimed; 0 in a ledger that several processes
        /// share.
        #[n(3)]
        session: u64,
        /// When the lease lapses unless renewed.
        #[n(4)]
        #[cbor(with = "cbor::millis")]
        until: Timestamp,
        /// The number of the claim among those of its owner; 0 if it had none.
        #[n(5)]
        #[cbor(with = "cbor::number", has_nil)]
        nonce: u64,
    },
    /// The next attempt may start once a pause has passed.
    #[n(1)]
    Waiting {
        /// When the last attempt ended, or was found dead.
        #[n(0)]
        #[cbor(with = "cbor::millis")]
        since: Timestamp,
        /// When the next one may start.
        #[n(1)]
        #[cbor(with = "cbor::millis")]
        until: Timestamp,
    },
}

/// How often a message may run, and how long its record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub struct Budget {
    /// Retries after the first attempt.
    #[n(0)]
    pub retries: u32,
    /// What follows an attempt with an unknown outcome.
    #[n(1)]
    pub on_crash: OnCrash,
    /// How long a result is kept, and how long an abandoned message may wait, in whole
    /// milliseconds.
    #[n(2)]
    #[cbor(with = "cbor::duration")]
    pub ttl: Duration,
}

/// What follows an attempt with an unknown outcome: its process died, its lease was lost, or its
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

// It is stored as a `bool`: whether it is buried.
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

    /// Sets what follows an attempt with an unknown outcome.
    #[must_use]
    pub fn on_crash(mut self, on_crash: OnCrash) -> Self {
        self.on_crash = on_crash;
        self
    }

    /// Returns the number of attempts in all.
    pub fn attempts(&self) -> u32 {
        self.retries.saturating_add(1)
    }
}

/// A message that was settled.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[non_exhaustive]
pub struct Settled {
    /// The fencing token of the claim that settled it.
    #[n(0)]
    pub token: u64,
    /// The fingerprint that a duplicate must have, if one is compared.
    #[n(1)]
    pub fingerprint: Option<Fingerprint>,
    /// When it settled.
    #[n(2)]
    #[cbor(with = "cbor::millis")]
    pub at: Timestamp,
    /// How long a result is kept, in whole milliseconds.
    #[n(3)]
    #[cbor(with = "cbor::duration")]
    pub ttl: Duration,
    /// The number of attempts.
    #[n(4)]
    pub attempts: u32,
    /// How it was settled.
    #[n(5)]
    pub end: Settlement,
}

/// How a message was settled.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[non_exhaustive]
pub enum Settlement {
    /// The body's result is recorded.
    #[n(0)]
    Done(#[n(0)] StoredResult),
    /// A dead letter is open.
    #[n(1)]
    Dead(#[n(0)] DeadLetterId),
    /// The dead letter was discarded.
    #[n(2)]
    Discarded(#[n(0)] DeadLetterId),
    /// The key was issued. The record is the issuer's; the handler that takes the key has its own.
    #[n(3)]
    Issued,
}

/// The version of a handler that gives none.
pub const FIRST_VERSION: u32 = 1;

/// A recorded result.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[non_exhaustive]
pub enum StoredResult {
    /// The result as JSON.
    #[n(0)]
    Json {
        /// The JSON.
        #[n(0)]
        #[cbor(with = "cbor::bytes")]
        json: Arc<[u8]>,
        /// The handler's version when it was recorded, from [`FIRST_VERSION`].
        #[n(1)]
        #[cbor(with = "cbor::version", has_nil)]
        version: u32,
        /// The trace of the run that made it.
        #[n(2)]
        trace: Option<TraceParent>,
    },
    /// The result was larger than the limit, and only its size is kept, in bytes.
    #[n(1)]
    TooLarge(#[n(0)] u64),
    /// The result was [erased](crate::Idem::erase).
    #[n(2)]
    Erased,
}

impl StoredResult {
    /// Returns a result that the first version of its handler recorded, of no trace.
    pub fn json(json: impl Into<Arc<[u8]>>) -> Self {
        Self::Json {
            json: json.into(),
            version: FIRST_VERSION,
            trace: None,
        }
    }
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

    /// Returns whether its time to live has passed. Dead records never expire.
    pub fn expired(&self, now: Timestamp) -> bool {
        !matches!(self.end, Settlement::Dead(_)) && now >= after(self.at, self.ttl)
    }
}

impl Record {
    /// Encodes the record, with the version of its format, for a ledger to store. Later versions
    /// of idem read what earlier ones wrote.
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

    /// Returns when time alone may change the record in a ledger with leases: before, a
    /// [`Step::Sweep`](super::Step::Sweep) leaves it as it is, unless the owner of a running claim
    /// is dead. `None` if time never does.
    pub fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Settled(settled) => {
                let dead = matches!(settled.end, Settlement::Dead(_));
                (!dead).then(|| after(settled.at, settled.ttl))
            }
            Self::Live(live) => Some(live.due()),
        }
    }

    /// Returns when its message first came, if it waits for its next attempt.
    pub fn waits_since(&self) -> Option<Timestamp> {
        match self {
            Self::Live(live) => live.waits_since(),
            Self::Settled(_) => None,
        }
    }

    /// Returns the fencing token of its last claim, or of the write that made it. Each write of a
    /// key has a token at least as large as that of the write before, also after the key was
    /// absent.
    pub fn token(&self) -> u64 {
        match self {
            Self::Live(live) => live.token,
            Self::Settled(settled) => settled.token,
        }
    }

    /// Returns the owner of its running claim, if there is one.
    pub fn owner(&self) -> Option<&Arc<str>> {
        match self {
            Self::Live(Live {
                phase: Phase::Running { owner, .. },
                ..
            }) => Some(owner),
            _ => None,
        }
    }

    /// Returns the live record, if it is one.
    #[cfg(feature = "sled")]
    pub(crate) fn live(self) -> Option<Live> {
        match self {
            Record::Live(live) => Some(live),
            Record::Settled(_) => None,
        }
    }

    /// Returns whether it is settled and its time to live has passed.
    pub(crate) fn expired(&self, now: Timestamp) -> bool {
        matches!(self, Record::Settled(settled) if settled.expired(now))
    }

    /// Returns whether it is another message's than the one with this fingerprint.
    pub(crate) fn is_of_another(&self, fingerprint: Option<Fingerprint>) -> bool {
        differ(self.fingerprint(), fingerprint)
    }

    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Record::Live(live) => live.fingerprint,
            Record::Settled(settled) => settled.fingerprint,
        }
    }
}

/// Returns whether two fingerprints are of two messages. One that is not there is compared with none.
pub(crate) fn differ(one: Option<Fingerprint>, other: Option<Fingerprint>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}
