//! When notices are sent.

use std::time::Duration;

/// When notices of dead letters and paused handlers are sent.
///
/// The first letter makes a notice at once. Then there is at most one digest per period, grouped by
/// handler and kind of error, and a notice at once when a new group appears.
///
/// A letter of a message that reused a finished message's key is not urgent: it goes with a digest,
/// and is not escalated.
///
/// A paused handler makes one notice when its pause begins, one each hour while it lasts, and one when
/// it is over; none for each message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Policy {
    pub(super) digest_every: Duration,
    pub(super) new_groups_at_once: u32,
    pub(super) group_forgotten_after: Duration,
    pub(super) escalate_after: Option<Duration>,
    pub(super) still_paused_every: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            digest_every: Duration::from_secs(15 * 60),
            new_groups_at_once: 5,
            group_forgotten_after: Duration::from_secs(7 * 24 * 3600),
            escalate_after: None,
            still_paused_every: Duration::from_secs(3600),
        }
    }
}

impl Policy {
    /// Sets the time between two digests; 15 minutes by default.
    pub fn digest_every(mut self, period: Duration) -> Self {
        self.digest_every = period;
        self
    }

    /// Sets how many notices of new groups are sent at once in one period; 5 by default. Later groups
    /// wait for the digest, so that many different errors do not flood the channels.
    pub fn new_groups_at_once(mut self, times: u32) -> Self {
        self.new_groups_at_once = times;
        self
    }

    /// Sets the time without a letter after which a group counts as new again; 7 days by default.
    pub fn group_forgotten_after(mut self, silence: Duration) -> Self {
        self.group_forgotten_after = silence;
        self
    }

    /// Sets the time after which an open letter is escalated to the channels of
    /// [`escalation_channel`](super::Monitor::escalation_channel); never by default.
    pub fn escalate_after(mut self, open: Duration) -> Self {
        self.escalate_after = Some(open);
        self
    }

    /// Sets how often a notice says that a handler is still paused; every hour by default.
    pub fn still_paused_every(mut self, period: Duration) -> Self {
        self.still_paused_every = period;
        self
    }
}
