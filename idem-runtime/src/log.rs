//! Log lines about messages that fail, through `tracing`. None holds a payload.
//!
//! While one handler fails often, the first lines of a kind are logged. The others are counted, and
//! summed up in a line a second; another line says that it is over.

use std::collections::HashMap;
use std::mem::take;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::ledger::LedgerError;
use crate::protocol::{AttemptOutcome, DeadLetter, RecordId};

/// How many lines of one handler and kind are logged within a [`PERIOD`] before they are counted.
const FEW: u64 = 5;
const PERIOD: Duration = Duration::from_secs(1);

/// The lines of one [`Idem`](crate::Idem).
#[derive(Default)]
pub(crate) struct Log {
    lines: Mutex<HashMap<Kind, HashMap<String, Lines>>>,
    /// Notified with the first line after a silence.
    begun: Notify,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    AttemptFailed,
    CallDropped,
    DeadLetter,
    NotCommitted,
    NotRecorded,
    /// Of a broker, with the plural of what its lines are about.
    Broker(&'static str),
}

/// The lines of one handler and kind in the current period.
#[derive(Default)]
struct Lines {
    logged: u64,
    left_out: u64,
    last_error: String,
    storm: Option<Storm>,
}

/// Periods in a row with lines that were left out.
#[derive(Clone, Copy)]
struct Storm {
    since: Timestamp,
    left_out: u64,
}

/// A line about lines that were left out.
struct Summary {
    kind: Kind,
    handler: String,
    left_out: u64,
    last_error: String,
    /// The whole storm, if it is over.
    over: Option<Storm>,
}

impl Log {
    pub(crate) fn attempt_failed(
        &self,
        id: &RecordId,
        attempt: u32,
        of: u32,
        outcome: AttemptOutcome,
        error: &str,
    ) {
        if self.takes(Kind::AttemptFailed, &id.handler, error) {
            tracing::warn!(handler = &*id.handler, key = &*id.key, attempt, of, %outcome, error, "attempt failed");
        }
    }

    pub(crate) fn call_dropped(&self, id: &RecordId, attempt: u32) {
        if self.takes(Kind::CallDropped, &id.handler, "") {
            tracing::warn!(
                handler = &*id.handler,
                key = &*id.key,
                attempt,
                "the call was dropped"
            );
        }
    }

    pub(crate) fn not_committed(&self, id: &RecordId, error: &LedgerError) {
        let error = format!("{error:#}");
        if self.takes(Kind::NotCommitted, &id.handler, &error) {
            tracing::warn!(
                handler = &*id.handler,
                key = &*id.key,
                error,
                "the attempt's transaction was not committed"
            );
        }
    }

    pub(crate) fn not_recorded(&self, id: &RecordId, error: &LedgerError) {
        let error = format!("{error:#}");
        if self.takes(Kind::NotRecorded, &id.handler, &error) {
            tracing::error!(
                handler = &*id.handler,
                key = &*id.key,
                error,
                "an attempt's end could not be recorded"
            );
        }
    }

    pub(crate) fn died(&self, letter: &DeadLetter) {
        let error = letter.last_error().unwrap_or_default();
        if self.takes(Kind::DeadLetter, &letter.handler, error) {
            tracing::error!(
                handler = letter.handler,
                key = letter.key,
                letter = %letter.id,
                reason = %letter.reason,
                attempts = letter.attempts.len(),
                error,
                "dead letter: the message will not run again until it is redriven"
            );
        }
    }

    /// Returns whether to log a line. One that is not logged is counted.
    fn takes(&self, kind: Kind, handler: &str, error: &str) -> bool {
        let mut kinds = self.lines.lock();
        if kinds.is_empty() {
            self.begun.notify_one();
        }
        let handlers = kinds.entry(kind).or_default();
        if !handlers.contains_key(handler) {
            handlers.insert(handler.to_owned(), Lines::default());
        }
        handlers
            .get_mut(handler)
            .is_none_or(|lines| lines.take(error))
    }

    /// Logs what was left out in the period that ends now.
    pub(crate) fn sum_up(&self, now: Timestamp) {
        let mut summaries = Vec::new();
        let mut kinds = self.lines.lock();
        for (kind, handlers) in kinds.iter_mut() {
            for (handler, lines) in handlers.iter_mut() {
                summaries.extend(lines.end(now).map(|(left_out, last_error, over)| Summary {
                    kind: *kind,
                    handler: handler.clone(),
                    left_out,
                    last_error,
                    over,
                }));
            }
            handlers.retain(|_, lines| lines.storm.is_some());
        }
        kinds.retain(|_, handlers| !handlers.is_empty());
        // A subscriber may do anything.
        drop(kinds);
        summaries.iter().for_each(|summary| summary.log(now));
    }
}

impl Lines {
    fn take(&mut self, error: &str) -> bool {
        if self.storm.is_none() && self.logged < FEW {
            self.logged += 1;
            return true;
        }
        self.left_out += 1;
        self.last_error.clear();
        self.last_error.push_str(error);
        false
    }

    /// Ends a period. Returns what there is to say of it: how many lines were left out, the last
    /// one's error, and the storm that is over.
    fn end(&mut self, now: Timestamp) -> Option<(u64, String, Option<Storm>)> {
        self.logged = 0;
        let left_out = take(&mut self.left_out);
        let before = self.storm.take();
        let storm = match before {
            None if left_out == 0 => return None,
            None => Storm {
                since: now,
                left_out,
            },
            Some(storm) => Storm {
                left_out: storm.left_out + left_out,
                ..storm
            },
        };
        if before.is_some() && left_out <= FEW {
            return Some((left_out, take(&mut self.last_error), Some(storm)));
        }
        self.storm = Some(storm);
        Some((left_out, self.last_error.clone(), None))
    }
}

impl Summary {
    fn log(&self, now: Timestamp) {
        let Self {
            kind,
            handler,
            left_out,
            last_error: error,
            over,
        } = self;
        let what = kind.plural();
        let text = match over {
            None => format!("… and {left_out} more {what}"),
            // Where the others were seen, this one is seen.
            Some(Storm { since, left_out }) => {
                // The first summary came a period after the first line.
                let took = now.duration_since(*since).as_secs() + 1;
                format!("{what}: the storm is over; {left_out} lines were left out in {took} s")
            }
        };
        match kind {
            Kind::Broker(_) => tracing::warn!(source = handler, left_out, error, "{text}"),
            _ if kind.is_error() && over.is_none() => {
                tracing::error!(handler, left_out, error, "{text}");
            }
            _ => tracing::warn!(handler, left_out, error, "{text}"),
        }
    }
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::AttemptFailed => "failed attempts",
            Self::CallDropped => "dropped calls",
            Self::DeadLetter => "dead letters",
            Self::NotCommitted => "transactions that were not committed",
            Self::NotRecorded => "ends of attempts that could not be recorded",
            Self::Broker(plural) => plural,
        }
    }

    fn is_error(self) -> bool {
        matches!(self, Self::DeadLetter | Self::NotRecorded)
    }
}

impl Idem {
    /// Returns whether a consumer or a relay logs a line about this source. `lines` is the plural of
    /// what it is about. A line that is not logged is counted and summed up.
    #[doc(hidden)]
    pub fn logs(&self, lines: &'static str, source: &str, error: &str) -> bool {
        let log = &self.shared().log;
        log.takes(Kind::Broker(lines), source, error)
    }
}

/// Sums up the lines that are left out, until the runtime drops it.
pub(crate) async fn sum_up_lines(shared: std::sync::Arc<Shared>) {
    let log = &shared.log;
    loop {
        log.begun.notified().await;
        while !log.lines.lock().is_empty() {
            tokio::time::sleep(PERIOD).await;
            log.sum_up(shared.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_first_lines_are_logged_and_the_others_counted_until_it_is_over() {
        let mut lines = Lines::default();
        assert_eq!((0..20).filter(|_| lines.take("shut")).count() as u64, FEW);
        let (left_out, error, over) = lines.end(at(0)).unwrap();
        assert_eq!(
            (left_out, error.as_str(), over.is_none()),
            (15, "shut", true)
        );
        // It goes on: nothing is logged but the count.
        assert!((0..30).all(|_| !lines.take("shut")));
        assert_eq!(lines.end(at(1)).unwrap().0, 30);
        // A few more, and it is over: all are counted.
        assert!(!lines.take("open"));
        let (_, _, over) = lines.end(at(2)).unwrap();
        assert_eq!(over.unwrap().left_out, 46);
        // It begins anew.
        assert!(lines.end(at(3)).is_none());
        assert!(lines.take("shut"));
    }
}
