//! What can be asked of a record, and what is answered.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::letter::{Actor, AttemptOutcome, DeadLetter, DeadLetterId};
use super::note::NoteChange;
use super::origin::Origin;
use super::record::{Budget, BuryCause, Fingerprint, StoredResult};
use crate::json::Json;

/// One move of a record. A ledger makes it atomic and, before it answers, durable.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// Asks for the right to run the body.
    Claim(Claim),
    /// Keeps a running claim alive for another lease.
    Renew {
        /// The claim's fencing token.
        token: u64,
        /// How long from now.
        lease: Duration,
    },
    /// The body returned a result.
    Complete {
        /// The claim's fencing token.
        token: u64,
        /// The result.
        result: StoredResult,
        /// What is written with it, in the same atomic write.
        notes: Vec<NoteChange>,
    },
    /// The attempt failed.
    Fail(Failed),
    /// The claim is not wanted any more, and its body never started: it was no attempt, and the
    /// record is as before it.
    GiveBack {
        /// The claim's fencing token.
        token: u64,
    },
    /// Makes a dead letter of a message that no handler can take. A key that another message has is
    /// left alone.
    Bury(Box<Bury>),
    /// A person re-arms a dead key: the next claim runs, whatever content it brings.
    Redrive {
        /// The open letter.
        letter: DeadLetterId,
        /// What the next letter is written from when nobody comes. Where nobody is to be waited
        /// for, or no longer, there is nothing, and the key becomes absent.
        payload: Option<Box<RedrivePayload>>,
        /// Who, and why.
        by: Actor,
    },
    /// A person closes a dead letter without another run.
    Discard {
        /// The open letter.
        letter: DeadLetterId,
        /// Who, and why.
        by: Actor,
    },
    /// A person undoes a discard, or a redrive that nobody has followed.
    Restore {
        /// The closed letter.
        letter: DeadLetterId,
        /// Who, and why.
        by: Actor,
    },
    /// A person changes a dead letter's payload.
    Edit {
        /// The open letter.
        letter: DeadLetterId,
        /// What it is to be.
        payload: Json,
        /// Who, and why.
        by: Actor,
    },
    /// A key is issued: until it lapses, handlers that want issued keys take it.
    Issue {
        /// How long it may wait to be used.
        ttl: Duration,
    },
    /// What time alone does to a record: expiry, abandonment, the end of an attempt whose owner is
    /// dead.
    Sweep,
}

/// A claim of the right to run the body.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Claim {
    /// The running instance that claims. It never claims a key that it is still running itself: an
    /// older claim of its own is one whose end could not be recorded.
    pub owner: Arc<str>,
    /// What must match where there is a record; `None` does not look.
    pub fingerprint: Option<Fingerprint>,
    /// The arguments: a JSON object, name to value.
    pub payload: Arc<[u8]>,
    /// The dotted paths into the payload that the handler redacts; nothing where it redacts none.
    pub redacted: Option<Arc<[String]>>,
    /// What the handler allows.
    pub budget: Budget,
    /// How long the claim lives unless renewed.
    pub lease: Duration,
    /// Where the message came from, where a broker brought it.
    pub origin: Option<Arc<Origin>>,
}

impl Claim {
    /// Returns a claim without a fingerprint, of a message that names no broker, with nothing
    /// redacted.
    pub fn new(
        owner: impl Into<Arc<str>>,
        payload: impl Into<Arc<[u8]>>,
        budget: Budget,
        lease: Duration,
    ) -> Self {
        Self {
            owner: owner.into(),
            fingerprint: None,
            payload: payload.into(),
            redacted: None,
            budget,
            lease,
            origin: None,
        }
    }

    /// Sets what must match where there is a record.
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// Sets the dotted paths into the payload that the handler redacts.
    #[must_use]
    pub fn redacted(mut self, paths: impl Into<Arc<[String]>>) -> Self {
        self.redacted = Some(paths.into());
        self
    }
}

/// A message that no handler can take.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Bury {
    /// Of its bytes: the same message is one letter, however often it comes.
    pub fingerprint: Fingerprint,
    /// What people are shown of it.
    pub payload: Json,
    /// The paths that are redacted of it.
    pub redacted: Vec<String>,
    /// What is wrong with it.
    pub cause: BuryCause,
    /// Where it came from.
    pub origin: Origin,
    /// How long a discard keeps duplicates out.
    pub ttl: Duration,
}

impl Bury {
    /// Returns a message of which nothing is redacted.
    pub fn new(
        fingerprint: Fingerprint,
        payload: impl Into<Json>,
        cause: BuryCause,
        origin: Origin,
        ttl: Duration,
    ) -> Self {
        Self {
            fingerprint,
            payload: payload.into(),
            redacted: Vec::new(),
            cause,
            origin,
            ttl,
        }
    }
}

/// A redriven message, as the letter shows it that is written when nobody comes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RedrivePayload {
    /// The closed letter's payload.
    pub payload: Arc<[u8]>,
    /// What is redacted of it.
    pub redacted: Vec<String>,
    /// Where it came from.
    pub origin: Option<Arc<Origin>>,
    /// What the closed letter says of a message that no handler could take.
    pub cause: Option<BuryCause>,
    /// How many arguments the handler takes.
    pub arguments: Option<u32>,
}

impl RedrivePayload {
    /// Returns a message with this payload; the fields that are not given are empty.
    pub fn new(payload: impl Into<Arc<[u8]>>) -> Self {
        Self {
            payload: payload.into(),
            redacted: Vec::new(),
            origin: None,
            cause: None,
            arguments: None,
        }
    }
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Failed {
    /// The claim's fencing token.
    pub token: u64,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The error's text.
    pub error: Option<String>,
    /// The pause before the next attempt, should there be one.
    pub pause: Duration,
}

impl Failed {
    /// Returns an attempt that failed without an error's text.
    pub fn new(token: u64, outcome: AttemptOutcome, pause: Duration) -> Self {
        Self {
            token,
            outcome,
            error: None,
            pause,
        }
    }

    /// Sets the error's text.
    #[must_use]
    pub fn error(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into());
        self
    }
}

/// What a ledger answers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// To a claim: run the body.
    Run(Grant),
    /// To a claim: it is done, and this is its result.
    Replay(StoredResult),
    /// To a claim: somebody else is running it, with a lease until then.
    Busy {
        /// When the lease lapses unless renewed.
        until: Timestamp,
    },
    /// To a claim: its back-off has not passed.
    NotYet {
        /// When it may run.
        at: Timestamp,
    },
    /// To a claim or a burial: the key belongs to another message.
    KeyReused,
    /// To a claim or a burial, or to a report that was recorded before: it is dead.
    Dead {
        /// Its letter.
        letter: DeadLetterId,
        /// A person closed the letter without another run.
        discarded: bool,
    },
    /// This step wrote a dead letter.
    DeadLettered(Box<DeadLetter>),
    /// To a failure, or to the sweep of a dead owner's claim: recorded, the next attempt may start
    /// then.
    Waiting {
        /// When it may run.
        at: Timestamp,
    },
    /// Recorded.
    Recorded,
    /// To a report or a renewal: the claim has passed to somebody else, and nothing was written.
    LeaseLost,
    /// To what a person wanted: the letter is not open, or to a restore, not closed, followed by a
    /// call, or forgotten.
    LetterNotOpen,
    /// To an issue: the key was issued before.
    AlreadyIssued,
    /// To a sweep: nothing to do.
    Unchanged,
}

/// A claim that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The fencing token.
    pub token: u64,
    /// The attempt's number, from 1.
    pub number: u32,
}
