//! What is known of the processes and of their server, and what it excuses.

use std::collections::HashMap;

use super::ProcessEnd;
use crate::torture::plan::Ledger;

/// How many lines a process may emit between the loss of its claims and the moment at which it knows,
/// or is killed.
const LAST_LINES: u64 = 200;

#[derive(Default)]
pub(super) struct Processes {
    ledger: Ledger,
    states: HashMap<u32, State>,
    /// Beginnings and ends of outages.
    turns: u32,
}

#[derive(Default)]
struct State {
    lines: u64,
    lapses: u32,
    /// How many lines it had emitted at the last lapse.
    lapsed_at: u64,
    ended: Option<ProcessEnd>,
}

/// A moment in a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) process: u32,
    lines: u64,
    lapses: u32,
    turns: u32,
    /// Whether the process began a new life a moment ago.
    pub(super) new_life: bool,
}

impl Processes {
    pub(super) fn on(ledger: Ledger) -> Self {
        Self {
            ledger,
            ..Self::default()
        }
    }

    /// Returns whether a process that lives may lose a claim.
    pub(super) fn have_leases(&self) -> bool {
        self.ledger == Ledger::Postgres
    }

    pub(super) fn line(&mut self, process: u32) {
        self.state(process).lines += 1;
    }

    pub(super) fn lapsed(&mut self, process: u32) {
        let state = self.state(process);
        state.lapses += 1;
        state.lapsed_at = state.lines;
    }

    pub(super) fn ended(&mut self, process: u32, how: ProcessEnd) {
        self.state(process).ended = Some(how);
    }

    /// Takes the beginning or the end of an outage.
    pub(super) fn server_turned(&mut self) {
        self.turns += 1;
    }

    fn state(&mut self, process: u32) -> &mut State {
        self.states.entry(process).or_default()
    }

    pub(super) fn now(&self, process: u32) -> Moment {
        let state = self.states.get(&process);
        Moment {
            process,
            lines: state.map_or(0, |state| state.lines),
            lapses: state.map_or(0, |state| state.lapses),
            turns: self.turns,
            new_life: state.is_some_and(State::has_just_lapsed),
        }
    }

    /// Returns whether a process may have lost its claims since then: it has ended, or it began a new
    /// life.
    pub(super) fn lost_since(&self, then: Moment) -> bool {
        self.states.get(&then.process).is_some_and(|state| {
            state.lapses != then.lapses
                || matches!(state.ended, Some(ProcessEnd::Killed | ProcessEnd::Aborted))
        })
    }

    /// Returns whether a process that still ran had lost its claims by then, as it turned out later.
    pub(super) fn had_lost(&self, then: Moment) -> bool {
        self.states.get(&then.process).is_some_and(|state| {
            state.lapses != then.lapses
                || matches!(state.ended, Some(ProcessEnd::Killed | ProcessEnd::Aborted))
                    && state.lines - then.lines < LAST_LINES
        })
    }

    /// Returns whether a process has ever begun a new life.
    pub(super) fn has_lapsed(&self, process: u32) -> bool {
        self.states
            .get(&process)
            .is_some_and(|state| state.lapses > 0)
    }

    pub(super) fn is_closed(&self, process: u32) -> bool {
        self.states
            .get(&process)
            .is_some_and(|state| state.ended == Some(ProcessEnd::Closed))
    }

    /// Returns whether there was an outage since then.
    pub(super) fn outage_since(&self, then: Moment) -> bool {
        !self.turns.is_multiple_of(2) || self.turns != then.turns
    }
}

impl State {
    fn has_just_lapsed(&self) -> bool {
        self.lapses > 0 && self.lines - self.lapsed_at < LAST_LINES
    }
}

impl Moment {
    /// Returns whether the process lost its claims, or the server was away, between two moments.
    pub(super) fn is_disturbed_until(self, later: Self) -> bool {
        self.lapses != later.lapses || self.turns != later.turns || !self.turns.is_multiple_of(2)
    }
}
