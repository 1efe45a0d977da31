//! The letters of one message: each must match its record, its operator's acts and its attempts.

use super::Rule;
use super::history::{History, Run};
use super::processes::Processes;
use crate::torture::event::{self, Ended, Handler, Record};

/// The outcome of attempts that are not charged.
const OUTAGE: &str = "outage";

/// What is known of one letter.
pub(super) struct Letter {
    pub(super) id: String,
    /// Whether a caller or an operator was told of it.
    pub(super) known: bool,
    /// Set when an operator began to close it: the last token that belongs to it, and whether it
    /// is redriven.
    pub(super) closing: Option<(u64, bool)>,
    /// Whether the operator was told that it is closed.
    pub(super) closed: bool,
    /// Its state at the end.
    pub(super) found: Option<event::Letter>,
}

impl Letter {
    pub(super) fn of(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            known: false,
            closing: None,
            closed: false,
            found: None,
        }
    }

    /// Returns whether it is known, and no redrive of it has begun.
    pub(super) fn is_known_and_open(&self) -> bool {
        self.known && self.redriven_with().is_none()
    }

    /// Returns the last token that belongs to it, if a redrive of it has begun.
    pub(super) fn redriven_with(&self) -> Option<u64> {
        self.closing
            .and_then(|(token, redrive)| redrive.then_some(token))
    }

    /// Returns whether a discard of it has begun.
    pub(super) fn is_discarded(&self) -> bool {
        matches!(self.closing, Some((_, false)))
    }
}

impl History {
    /// Returns the last token that belongs to a letter, by the record or the operator.
    pub(super) fn ends_at(&self, letter: &Letter) -> Option<u64> {
        match &self.record {
            Some(Record::Dead {
                token,
                letter: open,
            }) if *open == letter.id => Some(*token),
            _ => letter.closing.map(|(token, _)| token),
        }
    }

    pub(super) fn judge_letters(&mut self, processes: &Processes) {
        let mut texts = Vec::new();
        let mut open = 0;
        for letter in &self.letters {
            let id = &letter.id;
            let Some(found) = &letter.found else {
                texts.push((Rule::Lost, format!("letter {id} was seen, and it is gone")));
                continue;
            };
            let by_the_operator = match (found.state.as_str(), letter.closing) {
                ("open", _) => {
                    open += 1;
                    !letter.closed
                }
                ("redriven", Some((_, redrive))) => redrive,
                ("discarded", Some((_, redrive))) => !redrive,
                _ => false,
            };
            if !by_the_operator {
                let text = format!(
                    "letter {id} is {}, but the operator did {:?}",
                    found.state, letter.closing
                );
                texts.push((Rule::Letters, text));
            }
        }
        let state_of = |id: &String| {
            let letter = self.letters.iter().find(|letter| letter.id == *id)?;
            letter.found.as_ref().map(|found| found.state.as_str())
        };
        let fits = match &self.record {
            Some(Record::Dead { letter, .. }) => open == 1 && state_of(letter) == Some("open"),
            Some(Record::Discarded { letter, .. }) => {
                open == 0 && state_of(letter) == Some("discarded")
            }
            Some(Record::Absent | Record::Done { .. } | Record::Live) | None => open == 0,
        };
        if !fits {
            texts.push((
                Rule::Letters,
                format!(
                    "its record is {:?}, and it has {open} open letters",
                    self.record
                ),
            ));
        }
        texts.extend(self.attempts(processes));
        for (rule, text) in texts {
            self.fault(rule, text);
        }
    }

    /// Compares the attempts of each letter with what ran in its time.
    fn attempts(&self, processes: &Processes) -> Vec<(Rule, String)> {
        let mut texts = Vec::new();
        let ends = self
            .letters
            .iter()
            .filter_map(|letter| Some((self.ends_at(letter)?, letter.found.as_ref()?)));
        let mut ends: Vec<_> = ends.collect();
        ends.sort_by_key(|(token, _)| *token);
        let mut after = 0;
        for (last, letter) in ends {
            let runs: Vec<_> = self
                .runs
                .iter()
                .filter(|run| run.token > after && run.token <= last)
                .collect();
            after = last;
            let mut wrong = |text: String| {
                texts.push((Rule::Letters, format!("letter {}: {text}", letter.letter)));
            };
            if !charged(letter).eq(1..=charged(letter).count() as u32) {
                wrong(format!("its attempts are {:?}", letter.attempts));
            }
            if !self.reason_fits(letter) {
                wrong(format!(
                    "it died of `{}` after {:?}",
                    letter.reason, letter.attempts
                ));
            }
            // Generations that ended with an expiry leave no letter, so runs cannot be assigned to
            // letters.
            if self.handler.claims_late() {
                self.against_any_run(letter, processes)
                    .into_iter()
                    .for_each(wrong);
            } else if self.handler != Handler::Brief {
                self.against_the_journal(letter, &runs, processes)
                    .into_iter()
                    .for_each(wrong);
            }
        }
        if let Some(Record::Dead { token, .. } | Record::Discarded { token, .. }) = self.record
            && let Some(run) = self.runs.iter().find(|run| run.token > token)
            && !self.handler.claims_late()
        {
            texts.push((
                Rule::Doubled,
                format!("token {} ran after its letter was written", run.token),
            ));
        }
        texts
    }

    fn reason_fits(&self, letter: &event::Letter) -> bool {
        let last = letter.attempts.last().map(|(_, outcome)| outcome.as_str());
        match letter.reason.as_str() {
            "budget_spent" => charged(letter).count() == self.handler.attempts() as usize,
            "permanent_error" => last == Some("permanent"),
            "unknown_outcome" => {
                self.handler == Handler::Bury
                    && matches!(last, Some("crashed" | "dropped" | "lease_lapsed"))
            }
            "abandoned" => self.handler == Handler::Brief,
            _ => false,
        }
    }

    fn against_the_journal(
        &self,
        letter: &event::Letter,
        runs: &[&Run],
        processes: &Processes,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, outcome) in &letter.attempts {
            // Attempts that are not charged have their number in common with the next one.
            let run = runs.iter().rposition(|run| {
                run.number == *number && (outcome != OUTAGE || self.may_be(run, outcome, processes))
            });
            // A kill or a drop may come between the claim and the body.
            let Some(place) = run else {
                if !matches!(outcome.as_str(), "crashed" | "dropped" | "lease_lapsed") {
                    wrong.push(format!(
                        "attempt {number} is `{outcome}`, and its body never started"
                    ));
                }
                continue;
            };
            let run = runs[place];
            if !self.may_be(run, outcome, processes) {
                wrong.push(format!(
                    "attempt {number} is `{outcome}`, and its body ended as {:?}",
                    run.ended
                ));
            }
            let lived_on = match runs.get(place + 1) {
                Some(next) if next.at.process == run.at.process => {
                    !run.at.is_disturbed_until(next.at)
                }
                _ => {
                    processes.is_closed(run.at.process)
                        && !run.at.is_disturbed_until(processes.now(run.at.process))
                }
            };
            if outcome == "crashed" && lived_on {
                wrong.push(format!(
                    "attempt {number} is `{outcome}`, and its process lived on"
                ));
            }
        }
        for run in runs {
            if run.number as usize > charged(letter).count() {
                wrong.push(format!(
                    "attempt {} with token {} is not in it",
                    run.number, run.token
                ));
            }
        }
        wrong
    }

    /// Compares the attempts of a letter with all runs: those that ended at the same time are counted
    /// one after the other, and those that were killed are not.
    fn against_any_run(&self, letter: &event::Letter, processes: &Processes) -> Vec<String> {
        let without = |(number, outcome): &(u32, String)| {
            let ran = self
                .runs
                .iter()
                .any(|run| self.may_be(run, outcome, processes));
            let unclaimed = matches!(outcome.as_str(), "crashed" | "dropped" | "lease_lapsed");
            (!ran && !unclaimed)
                .then(|| format!("attempt {number} is `{outcome}`, and no body was"))
        };
        letter.attempts.iter().filter_map(without).collect()
    }

    fn may_be(&self, run: &Run, outcome: &str, processes: &Processes) -> bool {
        match (outcome, run.ended) {
            // Whatever it did was not recorded.
            ("crashed", _) => true,
            ("lease_lapsed", _) => run.at.new_life || processes.lost_since(run.at),
            ("not_committed" | OUTAGE, Some(Ended::Ok(_))) => self.handler.is_transactional(),
            ("failed", ended) => ended == Some(Ended::Failed),
            ("permanent", ended) => ended == Some(Ended::Permanent),
            ("panicked", ended) => ended == Some(Ended::Panicked),
            // A kill may come before that event.
            ("timed_out", Some(Ended::Gone) | None) => self.handler == Handler::Timed,
            ("dropped", Some(Ended::Gone) | None) => true,
            _ => false,
        }
    }
}

/// Returns the numbers of the attempts that the message was charged for.
fn charged(letter: &event::Letter) -> impl Iterator<Item = u32> {
    let charged = letter.attempts.iter().filter(|(_, how)| how != OUTAGE);
    charged.map(|(number, _)| *number)
}
