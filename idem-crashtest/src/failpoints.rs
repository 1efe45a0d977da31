//! Where a process crashes, and how.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The names of the failpoints at which the embedded ledger writes its state.
pub const FAILPOINTS: &[&str] = &idem_runtime::__failpoints::WRITES;

/// Where a process crashes, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Crash {
    /// The number of the process in its run, from 1. It is above 1 only where the scenario ends
    /// its process itself.
    pub process: u32,
    /// One of [`FAILPOINTS`].
    pub failpoint: String,
    /// Which pass of the process through the failpoint, from 1.
    pub pass: u32,
    /// How it crashes.
    pub kind: CrashKind,
}

/// How a process crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CrashKind {
    /// By [`std::process::abort`].
    Abort,
    /// By `kill -9`.
    Kill,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.kind {
            CrashKind::Abort => "aborted",
            CrashKind::Kill => "killed",
        };
        write!(f, "{how} at {}, pass {}", self.failpoint, self.pass)?;
        if self.process > 1 {
            write!(f, ", in process {}", self.process)?;
        }
        Ok(())
    }
}

/// Ends this process.
pub(crate) fn crash(kind: CrashKind) -> ! {
    if kind == CrashKind::Kill {
        // Where the signal cannot be sent, the abort below comes closest.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    std::process::abort()
}
