//! Questions to a live record: its holder, its last attempt, its budget.

use std::time::Duration;

use jiff::Timestamp;

use super::attempt::{AttemptOutcome, PastAttempt};
use super::decision::Facts;
use super::letter::{DeadLetterId, Reason};
#[cfg(feature = "sled")]
use super::record::RecordId;
use super::record::{Live, OnCrash, Phase, Settled, Settlement};
use crate::clock::after;

/// An outage that lasts no longer than this makes no message abandoned.
const OUTLASTED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Live {
    /// Returns the id of its record.
    #[cfg(feature = "sled")]
    pub(crate) fn id(&self) -> RecordId {
        RecordId::new(self.handler.clone(), self.key.clone())
    }

    /// Returns the number of the running attempt, or of the last one that was charged.
    pub(super) fn number(&self) -> u32 {
        match self.phase {
            Phase::Running { number, .. } => number,
            Phase::Waiting { .. } => self.past.last().map_or(0, PastAttempt::charged),
        }
    }

    /// Returns how many outages in a row came last.
    pub(super) fn outages(&self) -> u32 {
        let last = self.past.last();
        let last = last.filter(|last| last.outcome == AttemptOutcome::Outage);
        last.map_or(0, PastAttempt::times)
    }

    /// Adds an attempt that ended. Outages in a row are one entry, so that hours of them leave a
    /// small record.
    pub(super) fn ended(&mut self, attempt: PastAttempt) {
        let rest = match self.past.last_mut() {
            Some(last) => last.absorb(attempt),
            None => Some(attempt),
        };
        self.past.extend(rest);
    }

    /// Returns whether this letter was redriven, and no attempt has followed.
    pub(super) fn was_dead_as(&self, letter: DeadLetterId) -> bool {
        self.is_rearmed()
            && self
                .redriven
                .as_ref()
                .is_some_and(|redriven| redriven.letter == letter)
    }

    /// Returns whether its letter was redriven, and no attempt has followed.
    pub(super) fn is_rearmed(&self) -> bool {
        self.redriven.is_some() && matches!(self.phase, Phase::Waiting { .. })
    }

    /// Returns the dead record that it was before the redrive.
    pub(super) fn as_it_was(&self, at: Timestamp, letter: DeadLetterId) -> Settled {
        let before = self.redriven.as_ref();
        let settled = self.settle(
            at,
            before.map_or(0, |before| before.attempts),
            Settlement::Dead(letter),
        );
        Settled {
            fingerprint: before.and_then(|before| before.fingerprint),
            ..settled
        }
    }

    /// Returns whether it runs with this token, and the attempt may still report.
    pub(super) fn holds(&self, token: u64, facts: &Facts) -> bool {
        self.token == token && matches!(self.phase, Phase::Running { .. }) && !facts.dead_owner
    }

    /// Returns whether it runs for a dead owner.
    pub(super) fn orphaned(&self, facts: &Facts) -> bool {
        match self.phase {
            Phase::Running { session, until, .. } => {
                session != facts.session || facts.dead_owner || (facts.leases && facts.now >= until)
            }
            Phase::Waiting { .. } => false,
        }
    }

    /// Returns when its message first came, if it waits for its next attempt.
    pub(crate) fn waits_since(&self) -> Option<Timestamp> {
        matches!(self.phase, Phase::Waiting { .. }).then_some(self.first_seen)
    }

    /// Returns how long it waits for its message to come again. In an outage a broker may hold that
    /// back for longer than the time to live.
    pub(super) fn patience(&self) -> Duration {
        match self.outages() {
            0 => self.budget.ttl,
            _ => self.budget.ttl.max(OUTLASTED),
        }
    }

    /// Returns when time alone may change it in a ledger with leases: a lease that lapses buries
    /// the last attempt, and the time to live all the others.
    pub(super) fn due(&self) -> Timestamp {
        match self.phase {
            Phase::Running { number, until, .. }
                if number >= self.budget.attempts() || self.budget.on_crash == OnCrash::Bury =>
            {
                until
            }
            Phase::Running { until, .. } | Phase::Waiting { until, .. } => {
                after(until, self.patience())
            }
        }
    }

    /// Counts the attempt of a dead owner. The next one needs no pause.
    pub(super) fn end_orphan(&mut self, facts: &Facts) {
        let Phase::Running {
            number,
            since,
            session,
            ..
        } = self.phase
        else {
            return;
        };
        let outcome = if session == facts.session && facts.leases {
            AttemptOutcome::LeaseLapsed
        } else {
            AttemptOutcome::Crashed
        };
        self.past.push(PastAttempt {
            number,
            start: since,
            end: None,
            outcome,
            error: None,
            token: Some(self.token),
            outages: None,
        });
        self.phase = Phase::Waiting {
            since: facts.now,
            until: facts.now,
        };
        self.redriven = None;
    }

    /// Returns the reason to bury the message after the attempt that just ended, or `None` if
    /// another attempt may follow.
    pub(super) fn spent(&self) -> Option<Reason> {
        let last = self.past.last()?;
        match last.outcome {
            AttemptOutcome::Permanent => Some(Reason::PermanentError),
            AttemptOutcome::ResultNotStorable => Some(Reason::ResultNotStorable),
            AttemptOutcome::Outage => None,
            unknown if unknown.is_unknown() && self.budget.on_crash == OnCrash::Bury => {
                Some(Reason::UnknownOutcome)
            }
            _ => (last.number >= self.budget.attempts()).then_some(Reason::BudgetSpent),
        }
    }

    pub(super) fn settle(&self, at: Timestamp, attempts: u32, end: Settlement) -> Settled {
        Settled {
            token: self.token,
            fingerprint: self.fingerprint,
            at,
            ttl: self.budget.ttl,
            attempts,
            end,
        }
    }
}
