//! When people are told.

use std::time::Duration;

/// When people are told of dead letters.
///
/// The first letter at once; then at most one digest each period, grouped by handler and kind of
/// error; at once again when a group appears that was not there before.
///
/// A message whose key is that of one which is done can wait: it goes with a digest, and is not
/// told again when it stays open.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Policy {
    pub(super) digest_every: Duration,
    pub(super) new_groups_at_once: u32,
    pub(super) group_forgotten_after: Duration,
    pub(super) escalate_after: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            digest_every: Duration::from_secs(15 * 60),
            new_groups_at_once: 5,
            group_forgotten_after: Duration::from_secs(7 * 24 * 3600),
            escalate_after: None,
        }
    }
}

impl Policy {
    /// The time between two digests; 15 minutes unless said.
    pub fn digest_every(mut self, period: Duration) -> Self {
        self.digest_every = period;
        self
    }

    /// How often in one period a new group is told of at once; 5 unless said. After that it waits
    /// for the digest, so that errors that are all different make no flood.
    pub fn new_groups_at_once(mut self, times: u32) -> Self {
        self.new_groups_at_once = times;
        self
    }

    /// After how long without a letter a group counts as new again; 7 days unless said.
    pub fn group_forgotten_after(mut self, silence: Duration) -> Self {
        self.group_forgotten_after = silence;
        self
    }

    /// After how long a letter that is still open is told to the channels of
    /// [`escalate_to`](super::Monitor::escalate_to); never unless said.
    pub fn escalate_after(mut self, open: Duration) -> Self {
        self.escalate_after = Some(open);
        self
    }
}
