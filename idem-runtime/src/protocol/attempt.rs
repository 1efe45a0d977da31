//! The attempts of a message that ended.

use std::fmt;

use jiff::Timestamp;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::protocol::encoding::cbor;

/// One attempt that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[non_exhaustive]
pub struct PastAttempt {
    /// The attempt's number, from 1.
    #[n(0)]
    pub number: u32,
    /// When it was claimed.
    #[n(1)]
    #[cbor(with = "cbor::millis")]
    pub start: Timestamp,
    /// When its end was reported; `None` if it was not.
    #[n(2)]
    #[cbor(with = "cbor::maybe_millis")]
    pub end: Option<Timestamp>,
    /// How it ended.
    #[n(3)]
    pub outcome: AttemptOutcome,
    /// The error and its causes as `{:#}` prints them, or the panic's message; at most 4 KiB.
    #[n(4)]
    pub error: Option<String>,
    /// Its fencing token, by which a report that comes twice is known; `None` if an earlier version
    /// wrote it.
    #[n(5)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// How many outages in a row this entry stands for, if there was more than one: it has the
    /// start of the first, and the end and the error of the last.
    #[n(6)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outages: Option<u32>,
}

impl PastAttempt {
    /// Returns how many attempts the entry stands for: more than one for outages in a row.
    pub fn times(&self) -> u32 {
        self.outages.unwrap_or(1)
    }

    /// Returns how it ended, for people: the outcome's name, and of outages how many and that they
    /// are not charged.
    pub fn summary(&self) -> String {
        match (self.outcome, self.times()) {
            (AttemptOutcome::Outage, 1) => "outage, not charged".to_owned(),
            (AttemptOutcome::Outage, times) => format!("outage ×{times}, not charged"),
            (outcome, _) => outcome.to_string(),
        }
    }

    /// Returns the number of attempts that the message was charged for until then.
    pub(super) fn charged(&self) -> u32 {
        match self.outcome {
            AttemptOutcome::Outage => self.number.saturating_sub(1),
            _ => self.number,
        }
    }

    /// Adds another attempt to this entry, if both are outages. Else returns it.
    pub(super) fn absorb(&mut self, next: Self) -> Option<Self> {
        let outage = AttemptOutcome::Outage;
        if self.outcome != outage || next.outcome != outage {
            return Some(next);
        }
        *self = Self {
            start: self.start,
            outages: Some(self.times().saturating_add(1)),
            ..next
        };
        None
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The body returned an error.
    #[n(0)]
    Failed,
    /// The body returned an error that `retry_if` calls permanent.
    #[n(1)]
    Permanent,
    /// The body panicked.
    #[n(2)]
    Panicked,
    /// The body did not return within `timeout`.
    #[n(3)]
    TimedOut,
    /// The call was dropped before the body returned.
    #[n(4)]
    Dropped,
    /// The process died, or could not record how the attempt ended.
    #[n(5)]
    Crashed,
    /// The lease lapsed without a report.
    #[n(6)]
    LeaseLapsed,
    /// The body returned a result that cannot be recorded.
    #[n(7)]
    ResultNotStorable,
    /// The attempt's transaction was not committed, so nothing that it wrote happened.
    #[n(8)]
    NotCommitted,
    /// What the body needs was down: `outage` said so, or the ledger could not commit the attempt's
    /// transaction. It is not charged: the next attempt has the same number.
    #[n(9)]
    Outage,
}

impl AttemptOutcome {
    /// Returns whether it is unknown if the body did its work.
    pub fn is_unknown(self) -> bool {
        use AttemptOutcome::{Crashed, Dropped, LeaseLapsed, TimedOut};
        matches!(self, TimedOut | Dropped | Crashed | LeaseLapsed)
    }

    /// Returns the name used in metrics, logs and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptOutcome::Failed => "failed",
            AttemptOutcome::Permanent => "permanent",
            AttemptOutcome::Panicked => "panicked",
            AttemptOutcome::TimedOut => "timed_out",
            AttemptOutcome::Dropped => "dropped",
            AttemptOutcome::Crashed => "crashed",
            AttemptOutcome::LeaseLapsed => "lease_lapsed",
            AttemptOutcome::ResultNotStorable => "result_not_storable",
            AttemptOutcome::NotCommitted => "not_committed",
            AttemptOutcome::Outage => "outage",
        }
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use minicbor::Encoder;

    use super::*;

    fn failed() -> PastAttempt {
        PastAttempt {
            number: 2,
            start: Timestamp::from_second(1_800_000_000).unwrap(),
            end: None,
            outcome: AttemptOutcome::Failed,
            error: Some("no stock".to_owned()),
            token: Some(7),
            outages: None,
        }
    }

    /// As the release before outages wrote it, and reads it.
    #[test]
    fn an_attempt_that_met_no_outage_is_written_as_before() {
        let mut before = Encoder::new(Vec::new());
        before.array(6).unwrap().u32(2).unwrap();
        before.i64(1_800_000_000_000).unwrap().null().unwrap();
        before.encode(AttemptOutcome::Failed).unwrap();
        before.str("no stock").unwrap().u64(7).unwrap();
        let before = before.into_writer();
        assert_eq!(minicbor::decode::<PastAttempt>(&before).unwrap(), failed());
        assert_eq!(minicbor::to_vec(failed()).unwrap(), before);
        let json = serde_json::to_value(failed()).unwrap();
        assert_eq!(json.get("outages"), None);
    }

    #[test]
    fn outages_in_a_row_come_back_as_one() {
        let outage = PastAttempt {
            outcome: AttemptOutcome::Outage,
            ..failed()
        };
        let mut both = outage.clone();
        assert_eq!(both.absorb(outage), None);
        assert_eq!(both.absorb(failed()), Some(failed()));
        let again: PastAttempt = minicbor::decode(&minicbor::to_vec(&both).unwrap()).unwrap();
        assert_eq!((again.times(), again.charged()), (2, 1));
        assert_eq!(again.summary(), "outage ×2, not charged");
    }
}
