//! Where a process dies, and how.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fault;

/// The names of the places where the embedded ledger writes its state.
pub const POINTS: &[&str] = &fault::WRITES;

/// A place to die at, and how to die there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Place {
    /// In which of the run's processes, from 1; past 1 only where the scenario ends its process by
    /// itself.
    pub life: u32,
    /// One of [`POINTS`].
    pub point: String,
    /// When the process comes by for this time, from 1.
    pub time: u32,
    /// How.
    pub death: Death,
}

/// A way to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Death {
    /// [`std::process::abort`].
    Abort,
    /// `kill -9`.
    Kill,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.death {
            Death::Abort => "aborted",
            Death::Kill => "killed",
        };
        write!(f, "{how} at {}, time {}", self.point, self.time)?;
        if self.life > 1 {
            write!(f, ", in process {}", self.life)?;
        }
        Ok(())
    }
}

/// Ends this process.
pub(super) fn die(death: Death) -> ! {
    if death == Death::Kill {
        // Where the signal cannot be sent, the abort below is the next best death.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    std::process::abort()
}
