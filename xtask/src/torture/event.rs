//! The commands to the process that is killed and the events from it, one line of JSON each. Both
//! sides compile this file.
//!
//! The processes emit each event in one write to one pipe, which a kill cannot tear, and the content
//! of a pipe outlives its writer. So the lines are evidence outside of the ledger, in the order in
//! which the events happened, whichever process they happened in.

use serde::{Deserialize, Serialize};

/// One annotated function of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Handler {
    /// The defaults, with a permanent error.
    Plain,
    /// It has a `timeout`.
    Timed,
    /// Its bodies hang until the process ends.
    Hung,
    /// Not an `async fn`.
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
    /// Its body writes a row in the attempt's transaction.
    Counted,
    /// The same, with `transaction = "single"`.
    Single,
    /// The same, with `transaction = "fresh"`.
    Fresh,
}

impl Handler {
    /// Returns the name in the ledger.
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
            Handler::Counted => "torture.counted",
            Handler::Single => "torture.single",
            Handler::Fresh => "torture.fresh",
        }
    }

    /// Returns whether its bodies write a row that commits with their result.
    pub(crate) fn is_transactional(self) -> bool {
        matches!(self, Handler::Counted | Handler::Single | Handler::Fresh)
    }
}

/// What a body does in one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// Does its work and returns.
    Work,
    /// Pauses, and then does its work.
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
    /// `existing` returns an error; if the body is reached anyway, it does its work.
    FailToLook,
}

/// When a process kills itself: right after it has emitted the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Moment {
    /// A body of the call has started.
    Started,
    /// A body of the call has returned its result, which cannot be recorded yet.
    Ended,
    /// The caller got its answer.
    Told,
}

/// A command to the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// Calls a handler, beside all running calls.
    Call(Call),
    /// Lists dead letters, and redrives or discards some of them.
    Operate {
        /// Decides which letters.
        seed: u64,
        /// The process kills itself the moment the first letter is seen, or closed.
        kills: bool,
    },
    /// Emits all letters.
    Letters,
    /// Emits the record of a message, and its rows before.
    Record {
        /// The message's number.
        n: u64,
        /// Its handler.
        handler: Handler,
    },
    /// Waits for the running calls, closes the ledger, and ends.
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
    /// What the attempts do, in order; all further attempts do the last one.
    pub(crate) acts: Vec<Act>,
    /// How long to wait before the call is made, in milliseconds.
    pub(crate) wait: u32,
    /// After how many milliseconds the caller drops it.
    pub(crate) drop_after: Option<u32>,
    /// When it kills its process.
    pub(crate) kills: Option<Moment>,
    /// Whether the broker delivered the message before.
    pub(crate) redelivered: bool,
}

/// One line of the pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// The number of the process.
    pub(crate) process: u32,
    pub(crate) event: Event,
}

/// An event from a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// The ledger is open.
    Opened,
    /// The ledger is closed, and no call was running.
    Closed,
    /// The torturer saw the process's end: this is its last line.
    Gone,
    /// The torturer is about to end the server.
    ServerEnds,
    /// The torturer saw that the server takes connections again.
    ServerIsBack,
    /// The process lost all its claims, and begins a new life.
    Lapsed,
    /// The transaction of an attempt was not committed.
    NotCommitted { n: u64, text: String },
    /// The server could not be reached, and this was not done.
    Away { text: String },
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
    /// A caller got its answer.
    Told {
        call: u64,
        n: u64,
        variant: u8,
        answer: Answer,
    },
    /// An open letter was listed or watched.
    Seen { n: u64, letter: String },
    /// The operator is about to close a letter. Attempts up to this token belong to it or to
    /// earlier letters.
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
    /// A letter as it is now.
    Letter(Letter),
    /// A row in the business table of the transactional handlers.
    Row { n: u64, token: u64, digest: u64 },
    /// A record as it is now.
    Record { n: u64, record: Record },
    /// A command is carried out.
    Said,
    /// A fault that the process itself has seen.
    Trouble { text: String },
}

/// What `idem_runtime::attempt()` returns in a body.
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

/// The answer that a caller got.
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
    /// The lease was lost while the body ran.
    Lost,
    /// The attempt's transaction was not committed.
    NotCommitted,
    /// The server could not be reached.
    Away(String),
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
    /// Whether the payload is the delivered message.
    pub(crate) payload_fits: bool,
}

/// The record of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    Absent,
    Live,
    Done { token: u64 },
    Dead { token: u64, letter: String },
    Discarded { token: u64, letter: String },
}
