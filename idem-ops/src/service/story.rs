//! What happened to one key: its record, its letters, and every attempt and act in the order of
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

/// What happened to one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Story {
    /// The handler's name in the ledger.
    pub handler: String,
    /// The idempotency key.
    pub key: String,
    /// What the ledger remembers of it now.
    #[serde(deserialize_with = "with_its_result")]
    pub now: KeyState,
    /// All its letters, newest first, at most 500.
    pub letters: Vec<LetterLine>,
    /// Whether there are older letters than the index holds, which were not looked through for it.
    #[serde(default)]
    pub at_least: bool,
    /// What is known to have happened, the first event first.
    pub events: Vec<Event>,
}

/// What the ledger remembers of a key now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyState {
    /// Nothing: the next call runs the body. It never came, was re-armed, or its time to live has
    /// passed.
    Absent,
    /// An attempt is running.
    Running {
        /// The attempt's number, from 1.
        attempt: u32,
        /// How many attempts there may be.
        of: u32,
        /// When it was claimed.
        since: Timestamp,
        /// The running instance that holds it.
        owner: String,
    },
    /// An attempt failed, and another one is to come.
    Waiting {
        /// How many attempts there were.
        attempts: u32,
        /// How many there may be.
        of: u32,
        /// When the next one may start.
        until: Timestamp,
    },
    /// It has a result, which duplicates get.
    Done {
        /// When.
        at: Timestamp,
        /// How many attempts it took.
        attempts: u32,
        /// When the result is forgotten.
        forgotten_at: Timestamp,
        /// The result; nothing where it was too large to keep or to show (64 KiB). It is read back
        /// as part of a [`Story`].
        #[serde(skip_deserializing)]
        result: Option<Json>,
        /// The result's size in bytes of JSON.
        result_bytes: u64,
    },
    /// It waits for a person.
    Dead {
        /// Since when.
        at: Timestamp,
        /// The open letter.
        letter: DeadLetterId,
    },
    /// A person closed its letter: duplicates do not run.
    Discarded {
        /// When.
        at: Timestamp,
        /// The letter.
        letter: DeadLetterId,
        /// When that is forgotten, and a call runs again.
        forgotten_at: Timestamp,
    },
}

/// Reads the result from the text: serde takes a tagged enum apart first, and rounds numbers.
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

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The letter that tells of it, where one does.
    pub letter: Option<DeadLetterId>,
    /// What.
    #[serde(flatten)]
    pub what: EventKind,
}

/// What can happen to a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The key was issued, to be used by then.
    Issued {
        /// By whom.
        issuer: String,
        /// When it lapses unless it is used.
        until: Timestamp,
    },
    /// The message came for the first time, or for the first time after a redrive.
    Came,
    /// An attempt began.
    Started {
        /// Its number, from 1.
        attempt: u32,
    },
    /// An attempt ended, and it was not a success; `at` is its start where nobody reported the end.
    Ended {
        /// Its number, from 1.
        attempt: u32,
        /// How it ended.
        outcome: AttemptOutcome,
        /// The error's text.
        error: Option<String>,
        /// Whether its end was reported; otherwise nobody knows when it ended.
        reported: bool,
    },
    /// It became a dead letter.
    Died {
        /// Why.
        reason: Reason,
    },
    /// A message with the key was refused, and is a dead letter beside it.
    Refused {
        /// Why.
        reason: Reason,
        /// What is wrong with it.
        error: Option<String>,
    },
    /// A person re-armed it.
    Redriven {
        /// Who.
        who: Option<String>,
        /// Their reason.
        why: Option<String>,
    },
    /// A person closed its letter.
    Discarded {
        /// Who.
        who: Option<String>,
        /// Their reason.
        why: Option<String>,
    },
    /// A person undid that.
    Restored {
        /// Who.
        who: Option<String>,
        /// Their reason.
        why: Option<String>,
    },
    /// A person changed the payload.
    Edited {
        /// Who.
        who: Option<String>,
        /// Their reason.
        why: Option<String>,
    },
    /// It was done.
    Done {
        /// How many attempts it took.
        attempts: u32,
    },
}
