//! What the torturer and the process that it kills tell each other, one line of JSON each. Both
//! compile this file.
//!
//! The process says each thing in one write to a pipe, which a kill cannot tear, and what is in a
//! pipe outlives its writer. So the lines are the evidence outside the ledger, in the order in
//! which things happened.

use serde::{Deserialize, Serialize};

/// One annotated function of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Handler {
    /// The defaults, with a permanent error.
    Plain,
    /// It has a `timeout`.
    Timed,
    /// Its bodies hang, and nothing but the process's end ends them.
    Hung,
    /// No `async fn`.
    Sync,
    /// `on_crash = "bury"`.
    Bury,
    /// `retry = "redeliver"`.
    Redeliver,
    /// `existing = …`.
    Existing,
    /// Its results expire during the run.
    Brief,
    /// `in_flight = "reject"`.
    Reject,
}

impl Handler {
    /// The name in the ledger.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Handler::Plain => "torture.plain",
            Handler::Timed => "torture.timed",
            Handler::Hung => "torture.hung",
            Handler::Sync => "torture.sync",
            Handler::Bury => "torture.bury",
            Handler::Redeliver => "torture.redeliver",
            Handler::Existing => "torture.existing",
            Handler::Brief => "torture.brief",
            Handler::Reject => "torture.reject",
        }
    }
}

/// What a body does in one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// Does its work and returns.
    Work,
    /// Takes its time over the work.
    Linger,
    /// Returns an error.
    Fail,
    /// Returns an error that `retry_if` calls permanent.
    Permanent,
    /// Panics.
    Panic,
    /// Kills the process from inside.
    Abort,
    /// Never returns.
    Hang,
    /// `existing` returns an error; where the body is reached all the same, it works.
    FailToLook,
}

/// When a process kills itself: the moment something is said, with no way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Moment {
    /// A body of the call has started.
    Started,
    /// A body of the call has returned its result, and nobody can have recorded it.
    Ended,
    /// The caller was told.
    Told,
}

/// To the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Calls a handler, beside all calls that are running.
    Call(Call),
    /// Lists dead letters, and redrives or discards some of them.
    Operate {
        /// Decides which.
        seed: u64,
        /// The process kills itself the moment the first letter is seen, or closed.
        kills: bool,
    },
    /// Says all letters there are.
    Letters,
    /// Says what the ledger remembers of a message.
    Record {
        /// The message's number.
        n: u64,
        /// Its handler.
        handler: Handler,
    },
    /// Waits for what is running, closes the ledger, and ends.
    Close,
}

/// One delivery of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// The delivery's own number.
    pub(crate) call: u64,
    /// The message's number, and its key.
    pub(crate) n: u64,
    /// Another variant has another content under the same key.
    pub(crate) variant: u8,
    pub(crate) handler: Handler,
    /// The size of the payload's filler, in bytes.
    pub(crate) payload: u32,
    /// The size of the result's filler, in bytes.
    pub(crate) result: u32,
    /// What the attempts do, the first one first; the last of these is what all further ones do.
    pub(crate) acts: Vec<Act>,
    /// How long to wait before the call is made, in milliseconds.
    pub(crate) wait: u32,
    /// After how many milliseconds the caller drops it.
    pub(crate) drop_after: Option<u32>,
    /// When it kills its process.
    pub(crate) kills: Option<Moment>,
}

/// From the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// The ledger is open.
    Opened,
    /// The ledger is closed, and nothing was running.
    Closed,
    /// A body starts.
    Started(Attempt),
    /// `existing` returns an error, so the attempt ends without its body.
    LookFailed(Attempt),
    /// A body did its work.
    Effect { n: u64, token: u64 },
    /// A body is over.
    Ended { n: u64, token: u64, how: Ended },
    /// A body will never return.
    Hanging { n: u64 },
    /// A body is about to abort the process.
    Aborting { n: u64 },
    /// The process kills itself after the next line.
    Killing,
    /// A caller has its answer.
    Told {
        call: u64,
        n: u64,
        variant: u8,
        answer: Answer,
    },
    /// Somebody who lists or watches saw an open letter.
    Seen { n: u64, letter: String },
    /// A person is about to close a letter. Attempts up to this token belong to it or to earlier
    /// ones.
    Closing {
        n: u64,
        letter: String,
        token: u64,
        redrive: bool,
    },
    /// The letter is closed.
    LetterClosed {
        n: u64,
        letter: String,
        redrive: bool,
    },
    /// A letter, as it stands.
    Letter(Letter),
    /// A record, as it stands.
    Record { n: u64, record: Record },
    /// All that a command asked for is said.
    Said,
    /// Something that must not happen.
    Trouble { text: String },
}

/// What `idem_runtime::attempt()` says in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) n: u64,
    pub(crate) variant: u8,
    pub(crate) number: u32,
    pub(crate) of: u32,
    pub(crate) token: u64,
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ended {
    /// It returned a result with this digest.
    Ok(u64),
    Failed,
    Permanent,
    Panicked,
    /// It was dropped: with its call, or at its timeout.
    Gone,
}

/// What a caller was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The result: the token of the attempt that made it, and its digest.
    Ok {
        token: u64,
        digest: u64,
    },
    /// The body's own error: the token of the attempt that returned it.
    Own {
        token: u64,
    },
    Dead {
        letter: String,
        discarded: bool,
    },
    Reused,
    InProgress,
    /// Not before so many milliseconds.
    NotYet {
        after: u32,
    },
    Panicked,
    TimedOut,
    /// The caller dropped the call.
    Dropped,
    /// Another error: this text.
    Refused(String),
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub(crate) n: u64,
    pub(crate) handler: String,
    pub(crate) letter: String,
    /// `open`, `redriven` or `discarded`.
    pub(crate) state: String,
    pub(crate) reason: String,
    /// Number and outcome of each attempt.
    pub(crate) attempts: Vec<(u32, String)>,
    /// Whether the payload is what was delivered.
    pub(crate) payload_fits: bool,
}

/// What the ledger remembers of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    Absent,
    Live,
    Done { token: u64 },
    Dead { token: u64, letter: String },
    Discarded { token: u64, letter: String },
}
