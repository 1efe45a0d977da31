//! The steps of a record, and the replies to them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::action::Actor;
use super::attempt::AttemptOutcome;
use super::letter::{DeadLetter, DeadLetterId};
use super::note::NoteChange;
use super::origin::Origin;
use super::record::{Budget, BuryCause, Fingerprint, Record, StoredResult};
use super::sealed::Sealed;
use crate::json::Json;
use crate::trace::TraceParent;

/// One step of a record. A ledger makes it atomically, and durably before it answers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// Asks for the right to run the body.
    Claim(Claim),
    /// Keeps a running claim alive for another lease.
    Renew {
        /// The claim's fencing token.
        token: u64,
        /// The length of the lease, from now on.
        lease: Duration,
    },
    /// Records the body's result.
    Complete {
        /// The claim's fencing token.
        token: u64,
        /// The result.
        result: StoredResult,
        /// The notes to write in the same atomic write.
        notes: Vec<NoteChange>,
    },
    /// Records that the attempt failed.
    Fail(Failed),
    /// Makes a claim and its report at once: records an attempt that ran without a claim.
    Attempt(Box<WholeAttempt>),
    /// Gives a claim back whose body never started. It does not count as an attempt, and the record
    /// becomes what it was before.
    GiveBack {
        /// The claim's fencing token.
        token: u64,
    },
    /// Writes a dead letter for a message that no handler can take, without an attempt. The key of
    /// another message is left alone.
    Bury(Box<Bury>),
    /// Redrives a dead letter: the next claim runs, whatever content it brings.
    Redrive {
        /// The open letter.
        letter: DeadLetterId,
        /// The message to write the next letter from if no claim follows. With `None` no claim is
        /// waited for, and the key becomes absent.
        payload: Option<Box<RedrivePayload>>,
        /// The person, and their reason.
        by: Actor,
    },
    /// Closes a dead letter without another run.
    Discard {
        /// The open letter.
        letter: DeadLetterId,
        /// The person, and their reason.
        by: Actor,
    },
    /// Undoes a discard, or a redrive that no claim has followed.
    Restore {
        /// The closed letter.
        letter: DeadLetterId,
        /// The person, and their reason.
        by: Actor,
    },
    /// Changes a dead letter's payload.
    Edit {
        /// The open letter.
        letter: DeadLetterId,
        /// The new payload.
        payload: Json,
        /// Its sealed parts, if it has any.
        sealed: Option<Sealed>,
        /// The person, and their reason.
        by: Actor,
    },
    /// Forgets the content of a settled message, and keeps that it is settled: its result, or the
    /// content of a letter. The message of an open letter is [discarded](Self::Discard).
    Erase {
        /// A letter of the record, open or closed. `None` is the recorded result.
        letter: Option<DeadLetterId>,
        /// The person, and their reason.
        by: Actor,
    },
    /// Issues a key: until it expires, handlers that require issued keys take it.
    Issue {
        /// How long the key may wait for its first use.
        ttl: Duration,
    },
    /// Does what is due: expiry, abandonment, or the end of an attempt whose owner is dead.
    Sweep,
}

impl Step {
    /// Returns the notes to write if the step records a result.
    pub fn notes(&self) -> &[NoteChange] {
        match self {
            Self::Complete { notes, .. } => notes,
            Self::Attempt(whole) => whole.report.notes(),
            _ => &[],
        }
    }

    /// Returns about how many bytes a ledger writes for it.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Claim(claim) => claim.weight(),
            Self::Complete {
                result: StoredResult::Json { json, .. },
                notes,
                ..
            } => json.len() + NoteChange::weight(notes),
            Self::Attempt(whole) => whole.claim.weight() + whole.report.weight(),
            _ => 0,
        }
    }
}

/// An attempt that ran without a claim in the ledger. Its claim was
/// [foreseen](crate::ledger::Ledger::foresee).
///
/// A result is recorded only if the claim, made now, would start the same attempt. A failure is
/// counted as the next attempt, also in the pause after another one. Else the reply is that of the
/// claim, or [`Reply::LeaseLost`] where another attempt came between.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WholeAttempt {
    /// The claim.
    pub claim: Claim,
    /// The grant that was foreseen.
    pub grant: Grant,
    /// What it was foreseen by.
    pub seen: Seen,
    /// How the attempt ended: [`Step::Complete`] or [`Step::Fail`], with the grant's token.
    pub report: Step,
}

impl WholeAttempt {
    /// Returns an attempt of these parts.
    pub fn new(claim: Claim, grant: Grant, seen: Seen, report: Step) -> Self {
        Self {
            claim,
            grant,
            seen,
            report,
        }
    }
}

/// A record as a ledger read it, to decide a claim.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Seen {
    /// When it was read, by the ledger's time.
    pub at: Timestamp,
    /// The record; `None` if the key was absent.
    pub record: Option<Record>,
    /// The version of its row, in a ledger that has such.
    pub version: Option<u64>,
}

impl Seen {
    /// Returns a record without a version.
    pub fn new(at: Timestamp, record: Option<Record>) -> Self {
        Self {
            at,
            record,
            version: None,
        }
    }
}

/// What a claim would come to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and most are of the large kind"
)]
pub enum Foreseen {
    /// The body may run: [`Step::Attempt`] records the attempt.
    Run(Grant, Seen),
    /// Nothing runs, and the claim would change nothing: its answer.
    Answer(Reply),
    /// A claim runs, or ran as its process died: make the claim.
    Claim,
}

/// A claim of the right to run the body.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Claim {
    /// The instance that claims. It never claims a key that it is still running: an older claim of
    /// its own, with another nonce, is an attempt whose end could not be recorded.
    pub owner: Arc<str>,
    /// The number of this claim among those of its owner. A claim that is asked again with it,
    /// because the answer was lost, gets the answer of the first time. 0 is no number.
    pub nonce: u64,
    /// The fingerprint that a record must have, if it has one. `None` compares nothing.
    pub fingerprint: Option<Fingerprint>,
    /// The arguments: a JSON object, name to value.
    pub payload: Arc<[u8]>,
    /// The dotted paths into the payload that the handler redacts. `None` if it redacts nothing.
    pub redacted: Option<Arc<[String]>>,
    /// The redacted parts, if there is a key to seal them with.
    pub sealed: Option<Arc<Sealed>>,
    /// The handler's budget.
    pub budget: Budget,
    /// How long the claim lasts unless it is renewed.
    pub lease: Duration,
    /// Where the message came from, if a broker delivered it.
    pub origin: Option<Arc<Origin>>,
    /// The trace that the call is part of.
    pub trace: Option<TraceParent>,
}

impl Claim {
    /// Returns a claim without a nonce, a fingerprint, redacted and sealed parts, an origin, and a
    /// trace.
    pub fn new(
        owner: impl Into<Arc<str>>,
        payload: impl Into<Arc<[u8]>>,
        budget: Budget,
        lease: Duration,
    ) -> Self {
        Self {
            owner: owner.into(),
            nonce: 0,
            fingerprint: None,
            payload: payload.into(),
            redacted: None,
            sealed: None,
            budget,
            lease,
            origin: None,
            trace: None,
        }
    }

    fn weight(&self) -> usize {
        self.payload.len() + self.sealed.as_ref().map_or(0, |sealed| sealed.weight())
    }

    /// Sets the number of this claim among those of its owner.
    #[must_use]
    pub fn nonce(mut self, nonce: u64) -> Self {
        self.nonce = nonce;
        self
    }

    /// Sets the fingerprint that a record must have.
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
    /// The fingerprint of its bytes: the same message gets one letter, however often it is
    /// delivered.
    pub fingerprint: Fingerprint,
    /// The payload to show to people.
    pub payload: Json,
    /// The redacted paths.
    pub redacted: Vec<String>,
    /// The redacted parts, if there is a key to seal them with.
    pub sealed: Option<Sealed>,
    /// Why no handler can take it.
    pub cause: BuryCause,
    /// Where it came from.
    pub origin: Origin,
    /// How long a discard is kept, which keeps duplicates out.
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
            sealed: None,
            cause,
            origin,
            ttl,
        }
    }
}

/// A redriven message: the next letter is written from it if no claim follows.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RedrivePayload {
    /// The closed letter's payload.
    pub payload: Arc<[u8]>,
    /// The redacted paths.
    pub redacted: Vec<String>,
    /// The sealed parts.
    pub sealed: Option<Arc<Sealed>>,
    /// Where it came from.
    pub origin: Option<Arc<Origin>>,
    /// The cause of a message that was buried.
    pub cause: Option<BuryCause>,
    /// The number of the handler's arguments.
    pub arguments: Option<u32>,
    /// The trace in which it died.
    pub trace: Option<TraceParent>,
}

impl RedrivePayload {
    /// Returns a message with this payload; the fields that are not given are empty.
    pub fn new(payload: impl Into<Arc<[u8]>>) -> Self {
        Self {
            payload: payload.into(),
            redacted: Vec::new(),
            sealed: None,
            origin: None,
            cause: None,
            arguments: None,
            trace: None,
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
    /// The error's text, if there is one.
    pub error: Option<String>,
    /// The pause before the next attempt, if another one follows.
    pub pause: Duration,
}

impl Failed {
    /// Returns a failed attempt without an error's text.
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

/// A ledger's answer to a step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// To a claim: run the body.
    Run(Grant),
    /// To a claim: the message is done.
    Replay {
        /// Its result.
        result: StoredResult,
        /// When it was recorded.
        at: Timestamp,
    },
    /// To a claim: another instance runs the message.
    Busy {
        /// When its lease ends unless it is renewed.
        until: Timestamp,
    },
    /// To a claim: the pause after the last attempt has not passed.
    NotYet {
        /// When it may run.
        at: Timestamp,
    },
    /// To a claim or a burial: the key belongs to another message.
    KeyReused,
    /// To a claim or a burial, or to a report that was recorded before: the message is dead.
    Dead {
        /// Its letter.
        letter: DeadLetterId,
        /// Whether the letter was discarded.
        discarded: bool,
    },
    /// The step wrote a dead letter.
    DeadLettered(Box<DeadLetter>),
    /// To a failure, or to the sweep of a dead owner's claim: it is recorded, and another attempt
    /// may follow.
    Waiting {
        /// When it may run.
        at: Timestamp,
    },
    /// The step is recorded.
    Recorded,
    /// To a report or a renewal: the claim has passed to another attempt, and nothing was written.
    LeaseLost,
    /// To a person's action: the letter is not open. To a restore: it is not closed, a claim has
    /// followed, or its record has expired. To an erasure: its record is not settled, or the letter
    /// does not exist.
    LetterNotOpen,
    /// To an issue: the key was issued before.
    AlreadyIssued,
    /// Answers a sweep that found nothing due, and an erasure that found no result.
    Unchanged,
}

/// A claim that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The fencing token.
    pub token: u64,
    /// The attempt's number, from 1: one more than the attempts that the message was charged for.
    pub number: u32,
    /// How many outages in a row came just before.
    pub outages: u32,
}
