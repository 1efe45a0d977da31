//! Checks whether the events may have happened: events in, faults out.
//!
//! It knows nothing of plans, processes or time, so made-up events get the same verdict.

mod history;
mod letters;
mod processes;
mod rows;
mod starts;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::event::{Answer, Event, Handler};
use super::plan::Ledger;
use history::History;
use processes::Processes;

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    /// A delivered message is neither done nor a dead letter, or an answer is gone.
    Lost,
    /// Two answers, or a start after the end.
    Doubled,
    /// More starts than the budget has, or an attempt that was not counted.
    Budget,
    /// Tokens that do not grow, or two bodies of one key at once.
    Fencing,
    /// Letters that do not match the records, the journal or each other.
    Letters,
    /// An unexpected error.
    Refused,
}

/// All rules, in the order in which they are shown.
pub(crate) const RULES: [Rule; 6] = [
    Rule::Lost,
    Rule::Doubled,
    Rule::Budget,
    Rule::Fencing,
    Rule::Letters,
    Rule::Refused,
];

/// One thing that must not have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) rule: Rule,
    /// The message, if one is concerned.
    pub(crate) n: Option<u64>,
    pub(crate) text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.n {
            Some(n) => write!(f, "{:?}, message {n}: {}", self.rule, self.text),
            None => write!(f, "{:?}: {}", self.rule, self.text),
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessEnd {
    Killed,
    /// A body aborted it.
    Aborted,
    /// It closed its ledger while no call was running.
    Closed,
}

/// The counts of what was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) answers: u64,
    pub(crate) bodies: u64,
    /// Effects after a message's first: what "at least once" means, where there is no `existing`.
    pub(crate) effects_again: u64,
    /// Results that were compared with what their bodies returned.
    pub(crate) results: u64,
    /// Results that were compared with an earlier answer.
    pub(crate) replays: u64,
    pub(crate) redrives: u64,
    pub(crate) discards: u64,
    pub(crate) letters: u64,
    pub(crate) done: u64,
    pub(crate) dead: u64,
    pub(crate) discarded: u64,
    pub(crate) expired: u64,
    /// Rows that were compared with their records.
    pub(crate) rows: u64,
    /// Lives that ended before their processes.
    pub(crate) lapses: u64,
    /// Calls that did not reach the server, or whose attempt was not committed or lost its lease.
    pub(crate) refused: u64,
}

/// The histories of all messages, less than a kilobyte each.
#[derive(Default)]
pub(crate) struct Judge {
    histories: HashMap<u64, History>,
    processes: Processes,
    /// The largest token of earlier processes, and of this one. On a ledger that is shared, tokens
    /// grow by message.
    newest: (u64, u64),
    pub(crate) counts: Counts,
    pub(crate) faults: Vec<Fault>,
}

impl Judge {
    /// Returns the judge of processes on this ledger.
    pub(crate) fn of(ledger: Ledger) -> Self {
        Self {
            processes: Processes::on(ledger),
            ..Self::default()
        }
    }

    /// Takes a delivery of a message.
    pub(crate) fn delivered(&mut self, n: u64, handler: Handler, contended: bool) {
        self.histories
            .entry(n)
            .or_insert_with(|| History::of(handler, contended));
    }

    /// Takes the end of a process.
    pub(crate) fn process_ended(&mut self, process: u32, how: ProcessEnd) {
        self.processes.ended(process, how);
        if !self.processes.have_leases() {
            self.newest.0 = self.newest.1;
        }
    }

    /// Adds a fault that does not concern one message.
    pub(crate) fn trouble(&mut self, text: impl Into<String>) {
        self.faults.push(Fault {
            rule: Rule::Refused,
            n: None,
            text: text.into(),
        });
    }

    /// Takes one event of a process, in the order in which they happened.
    pub(crate) fn take(&mut self, process: u32, event: &Event) {
        self.processes.line(process);
        let n = match event {
            Event::Started(attempt) | Event::LookFailed(attempt) => attempt.n,
            Event::Letter(letter) => letter.n,
            Event::Effect { n, .. }
            | Event::Ended { n, .. }
            | Event::Told { n, .. }
            | Event::Seen { n, .. }
            | Event::Closing { n, .. }
            | Event::LetterClosed { n, .. }
            | Event::NotCommitted { n, .. }
            | Event::Row { n, .. }
            | Event::Record { n, .. } => *n,
            Event::Trouble { text } => return self.trouble(text),
            Event::Lapsed => {
                self.counts.lapses += 1;
                return self.processes.lapsed(process);
            }
            Event::ServerEnds | Event::ServerIsBack => return self.processes.server_turned(),
            Event::Opened | Event::Closed | Event::Gone => return,
            Event::Hanging { .. } | Event::Aborting { .. } | Event::Killing => return,
            Event::Away { .. } | Event::Said => return,
        };
        let Some(history) = self.histories.get_mut(&n) else {
            let text = format!("it was not delivered, but there is {event:?}");
            return self.faults.push(Fault {
                rule: Rule::Letters,
                n: Some(n),
                text,
            });
        };
        let (processes, counts) = (&self.processes, &mut self.counts);
        match event {
            Event::Started(attempt) | Event::LookFailed(attempt) => {
                let body = matches!(event, Event::Started(_));
                counts.bodies += u64::from(body);
                history.started(attempt, process, body, self.newest.0, processes);
                self.newest.1 = self.newest.1.max(attempt.token);
            }
            Event::Effect { .. } => counts.effects_again += u64::from(history.has_an_effect()),
            Event::Ended { token, how, .. } => history.ended(*token, *how),
            Event::Told {
                variant, answer, ..
            } => {
                counts.answers += u64::from(*answer != Answer::Dropped);
                history.told(process, *variant, answer, processes, counts);
            }
            Event::Seen { letter, .. } => history.saw(letter),
            Event::Closing {
                letter,
                token,
                redrive,
                ..
            } => history.closing(letter, *token, *redrive),
            Event::LetterClosed {
                letter, redrive, ..
            } => {
                *(if *redrive {
                    &mut counts.redrives
                } else {
                    &mut counts.discards
                }) += 1;
                history.letter_closed(letter);
            }
            Event::Letter(letter) => {
                counts.letters += 1;
                history.found_letter(letter);
            }
            Event::NotCommitted { .. } => history.not_committed(process),
            Event::Row { token, digest, .. } => history.rows.push((*token, *digest)),
            Event::Record { record, .. } => history.found_record(record, counts),
            _ => {}
        }
        self.faults.extend(history.take_faults(n));
    }

    /// Compares the letters and records at the end with everything before.
    pub(crate) fn judge(&mut self) {
        for (n, history) in &mut self.histories {
            history.judge(&self.processes, &mut self.counts);
            self.faults.extend(history.take_faults(*n));
        }
        self.faults.sort_by_key(|fault| (fault.n, fault.rule));
    }
}
