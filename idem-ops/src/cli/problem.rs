//! What ends a command early, and what a script sees of it.

use std::io;

use idem_runtime::json::json_problem;

/// What the command's exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done = 0,
    /// Something failed, or something is wrong.
    Failed = 1,
    /// It was called in a way that cannot work.
    Usage = 2,
    /// The service is not reachable, or another process holds the folder.
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
        "the service cannot be reached, or another process holds the folder",
    ),
];

/// Why a command ended before it was done.
#[derive(Debug)]
pub(crate) enum Problem {
    /// With this exit code, and this to say.
    Told(Exit, String),
    /// Everything was said already.
    Said(Exit),
    /// Whoever read the output has gone, as `head` does when it has enough.
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

/// Of writing the answer; other files say what they are where they fail.
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
