//! The reasons that end a command early, and the exit codes.

use std::io;

use idem_runtime::json::json_problem;

/// The command's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// Something failed, or something is wrong.
    Failed = 1,
    /// It was called in a way that cannot work.
    Usage = 2,
    /// The service or the database is not reachable, or another process holds the folder.
    Unreachable = 3,
}

/// The exit codes as help and man page show them.
pub(crate) const EXITS: [(Exit, &str); 4] = [
    (Exit::Done, "done"),
    (
        Exit::Failed,
        "something failed, or `doctor` found something wrong",
    ),
    (
        Exit::Usage,
        "the arguments cannot be used, or a confirmation is missing (`--yes`)",
    ),
    (
        Exit::Unreachable,
        "the service or the database cannot be reached, or another process holds the folder",
    ),
];

/// The reason why a command ended early.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The exit code, and the message.
    Told(Exit, String),
    /// The exit code; the message was written already.
    Said(Exit),
    /// The reader of the output has gone, as `head` does when it has enough.
    ReaderGone,
}

impl Problem {
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Told(Exit::Failed, text.into())
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Told(Exit::Usage, text.into())
    }

    pub(crate) fn unreachable(text: impl Into<String>) -> Self {
        Self::Told(Exit::Unreachable, text.into())
    }
}

/// An error of writing the answer; other errors are mapped where they occur.
impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::failed(format!("the answer cannot be written: {error}")),
        }
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(kind) => Self::from(io::Error::from(kind)),
            None => Self::failed(format!(
                "the answer cannot be written as JSON: {}",
                json_problem(&error)
            )),
        }
    }
}
