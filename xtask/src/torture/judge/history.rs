//! The history of one message: what its bodies did and which answers its callers and an operator
//! got, and whether all that agrees.

use super::letters::Letter;
use super::processes::{Moment, Processes};
use super::{Counts, Fault, Rule};
use crate::torture::event::{self, Answer, Ended, Handler, Record};

impl Handler {
    /// Returns `retries` of its annotation plus the first attempt.
    pub(super) fn attempts(self) -> u32 {
        match self {
            Handler::Brief => 2,
            Handler::Timed | Handler::Hung => 3,
            Handler::Plain
            | Handler::Sync
            | Handler::Bury
            | Handler::Redeliver
            | Handler::Reject
            | Handler::Counted
            | Handler::Single
            | Handler::Fresh => 4,
            Handler::Existing => 5,
        }
    }

    /// Returns whether an attempt may be claimed with its end only: then two may run at once, one
    /// that is killed does not count, and tokens do not grow from start to start.
    pub(super) fn claims_late(self) -> bool {
        matches!(self, Handler::Single | Handler::Fresh)
    }
}

/// Everything known of one message.
pub(super) struct History {
    pub(super) handler: Handler,
    contended: bool,
    /// The attempts that started, by token.
    pub(super) runs: Vec<Run>,
    /// The result that a caller got: its token and digest.
    pub(super) answer: Option<(u64, u64)>,
    /// A process in which a caller got it.
    pub(super) answered_in: Option<u32>,
    /// The token of the body's own error that a caller got as the final answer.
    pub(super) gave_up: Option<u64>,
    pub(super) letters: Vec<Letter>,
    pub(super) record: Option<Record>,
    /// Token and digest of each row in the business table of transactional handlers.
    pub(super) rows: Vec<(u64, u64)>,
    effects: u32,
    faults: Vec<(Rule, String)>,
    /// Faults unless the process had lost its claims at that moment, which it may say later.
    pub(super) suspicions: Vec<(Moment, Rule, String)>,
}

/// One attempt that started.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) number: u32,
    pub(super) token: u64,
    /// When it started.
    pub(super) at: Moment,
    pub(super) variant: u8,
    /// Whether it returned a result whose transaction was not committed.
    pub(super) refused: bool,
    pub(super) ended: Option<Ended>,
}

impl History {
    pub(super) fn of(handler: Handler, contended: bool) -> Self {
        Self {
            handler,
            contended,
            runs: Vec::new(),
            answer: None,
            answered_in: None,
            gave_up: None,
            letters: Vec::new(),
            record: None,
            rows: Vec::new(),
            effects: 0,
            faults: Vec::new(),
            suspicions: Vec::new(),
        }
    }

    pub(super) fn take_faults(&mut self, n: u64) -> impl Iterator<Item = Fault> {
        self.faults.drain(..).map(move |(rule, text)| Fault {
            rule,
            n: Some(n),
            text,
        })
    }

    pub(super) fn fault(&mut self, rule: Rule, text: impl Into<String>) {
        self.faults.push((rule, text.into()));
    }

    /// Returns whether its record may expire during the run.
    pub(super) fn forgets(&self) -> bool {
        self.handler == Handler::Brief
    }

    /// Returns whether it was redriven after this attempt or a later one.
    pub(super) fn redriven_since(&self, token: u64) -> bool {
        self.letters.iter().any(|letter| {
            let redriven_with = letter.redriven_with();
            redriven_with >= Some(token) || (self.handler.claims_late() && redriven_with.is_some())
        })
    }

    /// Returns a known open letter. Open letters never expire, discarded ones may.
    pub(super) fn open_letter(&self) -> Option<String> {
        let stands = |letter: &&Letter| {
            letter.is_known_and_open() && !(self.forgets() && letter.is_discarded())
        };
        self.letters
            .iter()
            .find(stands)
            .map(|letter| letter.id.clone())
    }

    pub(super) fn ended(&mut self, token: u64, how: Ended) {
        match self.runs.iter_mut().rev().find(|run| run.token == token) {
            Some(run) if run.ended.is_none() => run.ended = Some(how),
            _ => self.fault(
                Rule::Fencing,
                format!("token {token} ended as {how:?}, and was not running"),
            ),
        }
    }

    /// Takes that a process could not commit the result that it has.
    pub(super) fn not_committed(&mut self, process: u32) {
        let of_the_process = |run: &&mut Run| run.at.process == process;
        if let Some(run) = self.runs.iter_mut().rev().find(of_the_process) {
            run.refused = self.handler.is_transactional();
        }
    }

    /// Counts an effect. Returns whether there was one before.
    pub(super) fn has_an_effect(&mut self) -> bool {
        self.effects += 1;
        if self.effects > 1 && self.handler == Handler::Existing {
            self.fault(
                Rule::Doubled,
                "`existing` would have found its work, and it was done again",
            );
        }
        self.effects > 1
    }

    pub(super) fn told(
        &mut self,
        process: u32,
        variant: u8,
        answer: &Answer,
        processes: &Processes,
        counts: &mut Counts,
    ) {
        let refused = matches!(
            answer,
            Answer::Reused | Answer::Dropped | Answer::Away(_) | Answer::Lost
        );
        if !self.contended && variant != 0 && !refused {
            self.fault(
                Rule::Doubled,
                format!("another content under the same key was answered {answer:?}"),
            );
        }
        match answer {
            Answer::Ok { token, digest } => {
                self.told_ok(variant, (*token, *digest), counts);
                self.answered_in = Some(process);
            }
            Answer::Own { token } => self.told_own(*token),
            Answer::Dead { letter, discarded } => {
                self.saw(letter);
                if *discarded
                    && !self
                        .letters
                        .iter()
                        .any(|known| known.id == *letter && known.is_discarded())
                {
                    self.fault(
                        Rule::Letters,
                        format!("letter {letter} is discarded, but not by the operator"),
                    );
                }
            }
            Answer::Reused if self.contended || variant != 0 => {}
            Answer::InProgress if self.handler == Handler::Reject => {}
            Answer::NotYet { .. } | Answer::Panicked | Answer::TimedOut
                if self.handler == Handler::Redeliver => {}
            Answer::Dropped => {}
            // The torturer knows when it ended the server.
            Answer::Away(_) => counts.refused += 1,
            Answer::Lost if processes.has_lapsed(process) => counts.refused += 1,
            Answer::NotCommitted if self.handler.is_transactional() => counts.refused += 1,
            refused => self.fault(Rule::Refused, format!("a caller was told {refused:?}")),
        }
    }

    fn told_ok(&mut self, variant: u8, answer: (u64, u64), counts: &mut Counts) {
        let (token, digest) = answer;
        // What `existing` finds was not returned by its body, if that was killed.
        let found = self.handler == Handler::Existing;
        // Whatever content follows a redrive, the business has one effect under the key.
        let found_anew = found && self.redriven_since(token);
        match self.runs.iter().find(|run| run.token == token) {
            Some(Run {
                ended: Some(Ended::Ok(returned)),
                variant: its,
                ..
            }) => {
                if *returned != digest {
                    self.fault(
                        Rule::Doubled,
                        format!("a caller was told another result than token {token} returned"),
                    );
                } else if *its != variant && !found_anew {
                    self.fault(
                        Rule::Doubled,
                        format!("a caller was told the result of another content, token {token}"),
                    );
                }
                counts.results += 1;
            }
            Some(_) if found => {}
            Some(_) => {
                self.fault(
                    Rule::Doubled,
                    format!("a caller was told a result of token {token}, which had none"),
                );
            }
            None => self.fault(
                Rule::Doubled,
                format!("a caller was told a result of token {token}, which never ran"),
            ),
        }
        match self.answer {
            Some(first) if first == answer => counts.replays += 1,
            Some((first, _)) if first == token || !self.forgets() => {
                self.fault(
                    Rule::Doubled,
                    format!("callers were told two results, of the tokens {first} and {token}"),
                );
            }
            _ => self.answer = Some(answer),
        }
        if let Some(letter) = self.open_letter() {
            self.fault(
                Rule::Doubled,
                format!("a caller was told a result, and it is dead letter {letter}"),
            );
        }
    }

    fn told_own(&mut self, token: u64) {
        let ended = self
            .runs
            .iter()
            .find(|run| run.token == token)
            .map(|run| run.ended);
        if !matches!(ended, Some(Some(Ended::Failed | Ended::Permanent))) {
            self.fault(
                Rule::Doubled,
                format!("a caller was told the error of token {token}, which had none"),
            );
        }
        if self.answer.is_some() && !self.redriven_since(token) && !self.forgets() {
            self.fault(
                Rule::Doubled,
                format!("callers were told a result, and the error of token {token}"),
            );
        }
        if self.handler != Handler::Redeliver {
            self.gave_up = self.gave_up.max(Some(token));
        }
    }

    pub(super) fn saw(&mut self, letter: &str) {
        let known = self.letter(letter);
        known.known = true;
        if known.is_known_and_open() && self.answer.is_some() && !self.forgets() {
            self.fault(
                Rule::Doubled,
                format!("callers were told a result, and that it is dead letter {letter}"),
            );
        }
    }

    pub(super) fn letter(&mut self, id: &str) -> &mut Letter {
        let place = self
            .letters
            .iter()
            .position(|letter| letter.id == id)
            .unwrap_or_else(|| {
                self.letters.push(Letter::of(id));
                self.letters.len() - 1
            });
        &mut self.letters[place]
    }

    pub(super) fn closing(&mut self, letter: &str, token: u64, redrive: bool) {
        let known = self.letter(letter);
        if known.closed {
            self.fault(
                Rule::Letters,
                format!("letter {letter} was closed, and is open again"),
            );
        } else {
            known.closing = Some((token, redrive));
        }
    }

    pub(super) fn letter_closed(&mut self, letter: &str) {
        self.letter(letter).closed = true;
    }

    pub(super) fn found_letter(&mut self, found: &event::Letter) {
        if found.handler != self.handler.name() {
            self.fault(
                Rule::Letters,
                format!("letter {} is of handler `{}`", found.letter, found.handler),
            );
        }
        if !found.payload_fits {
            self.fault(
                Rule::Letters,
                format!(
                    "letter {} has another payload than was delivered",
                    found.letter
                ),
            );
        }
        self.letter(&found.letter).found = Some(found.clone());
    }

    pub(super) fn found_record(&mut self, record: &Record, counts: &mut Counts) {
        match record {
            Record::Done { .. } => counts.done += 1,
            Record::Dead { .. } => counts.dead += 1,
            Record::Discarded { .. } => counts.discarded += 1,
            Record::Absent if self.forgets() => counts.expired += 1,
            Record::Absent | Record::Live => {}
        }
        self.record = Some(record.clone());
    }

    /// Compares the record and the letters at the end with what happened.
    pub(super) fn judge(&mut self, processes: &Processes, counts: &mut Counts) {
        for (then, rule, text) in std::mem::take(&mut self.suspicions) {
            if !processes.had_lost(then) {
                self.fault(rule, text);
            }
        }
        let last = self.runs.iter().map(|run| run.token).max();
        let last = last.filter(|_| !self.handler.claims_late()).unwrap_or(0);
        match (self.record.clone(), self.answer) {
            (None, _) => self.fault(Rule::Lost, "its record was not asked for"),
            (Some(Record::Live), _) => {
                self.fault(Rule::Lost, "its record is live, but no process is");
            }
            (Some(Record::Absent), _) if !self.forgets() => {
                self.fault(Rule::Lost, "it has no record");
            }
            (Some(Record::Done { token }), _) if last > token => {
                self.fault(
                    Rule::Doubled,
                    format!("token {last} ran after token {token} was recorded as done"),
                );
            }
            (Some(Record::Done { .. }), None) => {
                self.fault(Rule::Lost, "its result is recorded, but no caller got it");
            }
            (Some(Record::Done { token }), Some((told, _)))
                if told != token && self.handler != Handler::Existing && !self.forgets() =>
            {
                let text = format!(
                    "callers got the result of token {told}, but that of token {token} is recorded"
                );
                self.fault(Rule::Doubled, text);
            }
            (Some(Record::Dead { .. } | Record::Discarded { .. }), Some((told, _)))
                if !self.forgets() =>
            {
                let text = format!("callers got the result of token {told}, but it is dead");
                self.fault(Rule::Lost, text);
            }
            _ => {}
        }
        self.judge_letters(processes);
        self.judge_rows(counts);
        if let Some(last) = self.gave_up.filter(|last| {
            !self
                .letters
                .iter()
                .any(|letter| self.handler.claims_late() || self.ends_at(letter) >= Some(*last))
        }) {
            self.fault(
                Rule::Lost,
                format!("a caller got the error of token {last} as final, but there is no letter"),
            );
        }
    }
}
