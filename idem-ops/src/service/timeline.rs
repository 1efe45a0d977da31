//! The timeline of one key: its record, its letters, and every attempt and action in the order of
//! time.

use idem_runtime::{
    DeadLetterId,
    clock::Timestamp,
    dead_letters::{AttemptOutcome, Reason},
    json::Json,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::letters::LetterLine;

/// The timeline of one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Timeline {
    /// The handler's name in the ledger.
    pub handler: String,
    /// The idempotency key.
    pub key: String,
    /// The state of its record now.
    #[serde(deserialize_with = "with_its_result")]
    pub now: KeyState,
    /// Its letters, newest first, at most 500.
    pub letters: Vec<LetterLine>,
    /// Whether there are letters older than the index, which were not searched.
    #[serde(default)]
    pub at_least: bool,
    /// The known events, oldest first.
    pub events: Vec<Event>,
}

/// The state of a key's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyState {
    /// There is no record: the next call runs the body. The key never came, was re-armed, or its
    /// record has expired.
    Absent,
    /// An attempt is running.
    Running {
        /// The attempt's number, from 1.
        attempt: u32,
        /// The maximum number of attempts.
        of: u32,
        /// When it was claimed.
        since: Timestamp,
        /// The instance that holds the claim.
        owner: String,
    },
    /// An attempt failed, and another one is allowed.
    Waiting {
        /// The number of attempts so far.
        attempts: u32,
        /// The maximum number of attempts.
        of: u32,
        /// When the next attempt may start.
        until: Timestamp,
    },
    /// It is done; duplicates get the result.
    Done {
        /// When it was done.
        at: Timestamp,
        /// The number of attempts.
        attempts: u32,
        /// When the record expires.
        forgotten_at: Timestamp,
        /// The result, unless it was too large to store or to show (64 KiB). It is deserialized
        /// only as a part of a [`Timeline`].
        #[serde(skip_deserializing)]
        result: Option<Json>,
        /// The result's size in bytes of JSON; 0 if it was erased.
        result_bytes: u64,
    },
    /// It has an open dead letter.
    Dead {
        /// When it became a dead letter.
        at: Timestamp,
        /// The open letter.
        letter: DeadLetterId,
    },
    /// Its letter was discarded: duplicates do not run.
    Discarded {
        /// When it was discarded.
        at: Timestamp,
        /// The letter.
        letter: DeadLetterId,
        /// When the record expires, so that a call runs again.
        forgotten_at: Timestamp,
    },
}

/// Reads the result from the text, since serde buffers a tagged enum and rounds its numbers.
fn with_its_result<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyState, D::Error> {
    #[derive(Deserialize)]
    struct Done {
        #[serde(default)]
        result: Option<Json>,
    }
    let text = Json::deserialize(deserializer)?;
    let mut state: KeyState = text.parse().map_err(D::Error::custom)?;
    if let KeyState::Done { result, .. } = &mut state {
        *result = text.parse::<Done>().map_err(D::Error::custom)?.result;
    }
    Ok(state)
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// The letter that has it in its history, if any.
    pub letter: Option<DeadLetterId>,
    /// What happened.
    #[serde(flatten)]
    pub what: EventKind,
}

/// The kinds of event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The key was issued.
    Issued {
        /// The issuer's name.
        issuer: String,
        /// When it expires unless it is used.
        until: Timestamp,
    },
    /// The message came for the first time, or the first time after a redrive.
    Came,
    /// An attempt began.
    Started {
        /// Its number, from 1.
        attempt: u32,
    },
    /// An attempt ended without success; `at` is its start if the end was not reported.
    Ended {
        /// Its number, from 1.
        attempt: u32,
        /// How it ended.
        outcome: AttemptOutcome,
        /// The error's text.
        error: Option<String>,
        /// Whether its end was reported; otherwise the time of the end is unknown.
        reported: bool,
    },
    /// It became a dead letter.
    Died {
        /// The reason.
        reason: Reason,
    },
    /// Another message with the key was refused and became a dead letter.
    Refused {
        /// The reason.
        reason: Reason,
        /// The problem.
        error: Option<String>,
    },
    /// A person re-armed it.
    Redriven {
        /// The person.
        who: Option<String>,
        /// Their reason.
        why: Option<String>,
    },
    /// A person discarded its letter.
    Discarded {
        /// The person.
        who: Option<String>,
        /// Their reason.
        why: Option<String>,
    },
    /// A person undid the discard.
    Restored {
        /// The person.
        who: Option<String>,
        /// Their reason.
        why: Option<String>,
    },
    /// A person replaced the payload.
    Edited {
        /// The person.
        who: Option<String>,
        /// Their reason.
        why: Option<String>,
    },
    /// A person erased its content.
    Erased {
        /// The person.
        who: Option<String>,
        /// Their reason.
        why: Option<String>,
    },
    /// It was done.
    Done {
        /// The number of attempts.
        attempts: u32,
    },
}
