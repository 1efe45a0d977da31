//! The history of one message: what its bodies did and which answers its callers and an operator
//! got, and whether all that agrees.

use super::letters::Letter;
use super::{Counts, Fault, ProcessEnd, Rule};
use crate::torture::event::{self, Answer, Attempt, Ended, Handler, Record};

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
            | Handler::Reject => 4,
            Handler::Existing => 5,
        }
    }
}

/// Everything known of one message.
pub(super) struct History {
    pub(super) handler: Handler,
    contended: bool,
    /// The attempts that started, by token.
    pub(super) runs: Vec<Run>,
    /// The result that a caller got: its token and digest.
    answer: Option<(u64, u64)>,
    /// The token of the body's own error that a caller got as the final answer.
    gave_up: Option<u64>,
    pub(super) letters: Vec<Letter>,
    pub(super) record: Option<Record>,
    effects: u32,
    faults: Vec<(Rule, String)>,
}

/// One attempt that started.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) number: u32,
    pub(super) token: u64,
    pub(super) process: usize,
    variant: u8,
    pub(super) ended: Option<Ended>,
}

impl History {
    pub(super) fn of(handler: Handler, contended: bool) -> Self {
        Self {
            handler,
            contended,
            runs: Vec::new(),
            answer: None,
            gave_up: None,
            letters: Vec::new(),
            record: None,
            effects: 0,
            faults: Vec::new(),
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
    fn forgets(&self) -> bool {
        self.handler == Handler::Brief
    }

    /// Returns whether it was redriven after this attempt or a later one.
    fn redriven_since(&self, token: u64) -> bool {
        self.letters
            .iter()
            .any(|letter| letter.redriven_with() >= Some(token))
    }

    /// Returns a known open letter. Open letters never expire, discarded ones may.
    fn open_letter(&self) -> Option<String> {
        let stands = |letter: &&Letter| {
            letter.is_known_and_open() && !(self.forgets() && letter.is_discarded())
        };
        self.letters
            .iter()
            .find(stands)
            .map(|letter| letter.id.clone())
    }

    pub(super) fn started(
        &mut self,
        attempt: &Attempt,
        process: usize,
        body: bool,
        newest_before: u64,
    ) {
        let Attempt {
            number,
            of,
            token,
            variant,
            ..
        } = *attempt;
        let what = format!("attempt {number} with token {token}");
        if of != self.handler.attempts() || number > of || number == 0 {
            self.fault(
                Rule::Budget,
                format!("{what} of {of}, and there are {}", self.handler.attempts()),
            );
        }
        if let Some((told, _)) = self.answer
            && !self.forgets()
        {
            self.fault(
                Rule::Doubled,
                format!("{what} started after a caller got the result of token {told}"),
            );
        }
        if let Some(letter) = self.open_letter() {
            self.fault(
                Rule::Doubled,
                format!("{what} started though it is dead letter {letter}"),
            );
        }
        let discarded = self.forgets() && self.letters.iter().any(Letter::is_discarded);
        if let Some(last) = self
            .gave_up
            .filter(|last| !discarded && !self.redriven_since(*last))
        {
            self.fault(
                Rule::Doubled,
                format!("{what} started after a caller got the error of token {last} as final"),
            );
        }
        let last = self.runs.last().map(|last| {
            (
                last.token,
                last.number,
                last.process,
                last.variant,
                last.ended,
            )
        });
        if let Some((last_token, last_number, last_process, last_variant, ended)) = last {
            if token <= last_token {
                self.fault(
                    Rule::Fencing,
                    format!("{what} started after token {last_token}"),
                );
            }
            if last_process == process && ended.is_none() {
                self.fault(
                    Rule::Fencing,
                    format!("{what} started while token {last_token} was running"),
                );
            }
            if last_process == process && matches!(ended, Some(Ended::Ok(_))) && !self.forgets() {
                let text = format!(
                    "{what} started in the process in which token {last_token} had returned its result"
                );
                self.fault(Rule::Doubled, text);
            }
            let redriven = self.redriven_since(last_token);
            let expired = discarded || (self.forgets() && matches!(ended, Some(Ended::Ok(_))));
            if number <= last_number && !redriven && !expired {
                let text = format!(
                    "{what} follows attempt {last_number} with token {last_token}: it was not counted"
                );
                self.fault(Rule::Budget, text);
            }
            let unknown = matches!(ended, None | Some(Ended::Gone));
            if unknown && self.handler == Handler::Bury && !redriven {
                let text =
                    format!("{what} started, but the outcome of token {last_token} is unknown");
                self.fault(Rule::Budget, text);
            }
            if ended == Some(Ended::Permanent) && last_process == process && !redriven {
                self.fault(
                    Rule::Budget,
                    format!("{what} started after the permanent error of token {last_token}"),
                );
            }
            if variant != last_variant && !redriven {
                self.fault(
                    Rule::Doubled,
                    format!("{what} has another content than token {last_token}"),
                );
            }
        }
        if token <= newest_before {
            let text = format!("{what} started after token {newest_before} of an earlier process");
            self.fault(Rule::Fencing, text);
        }
        let ended = (!body).then_some(Ended::Failed);
        self.runs.push(Run {
            number,
            token,
            process,
            variant,
            ended,
        });
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

    pub(super) fn told(&mut self, variant: u8, answer: &Answer, counts: &mut Counts) {
        let refused = matches!(answer, Answer::Reused | Answer::Dropped);
        if !self.contended && variant != 0 && !refused {
            self.fault(
                Rule::Doubled,
                format!("another content under the same key was answered {answer:?}"),
            );
        }
        match answer {
            Answer::Ok { token, digest } => self.told_ok(variant, (*token, *digest), counts),
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
            refused => self.fault(Rule::Refused, format!("a caller was told {refused:?}")),
        }
    }

    fn told_ok(&mut self, variant: u8, answer: (u64, u64), counts: &mut Counts) {
        let (token, digest) = answer;
        // What `existing` finds was not returned by its body, if that was killed.
        let found = self.handler == Handler::Existing;
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
                } else if *its != variant {
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
    pub(super) fn judge(&mut self, processes: &[ProcessEnd]) {
        let last = self.runs.last().map_or(0, |run| run.token);
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
        if let Some(last) = self.gave_up.filter(|last| {
            !self
                .letters
                .iter()
                .any(|letter| self.ends_at(letter) >= Some(*last))
        }) {
            self.fault(
                Rule::Lost,
                format!("a caller got the error of token {last} as final, but there is no letter"),
            );
        }
    }
}
