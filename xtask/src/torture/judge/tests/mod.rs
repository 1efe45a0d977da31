//! Made-up journals: a correct one of every kind, and for each rule one that breaks only that rule.

mod answers;
mod letters;
mod shared;
mod starts;

use super::{Judge, ProcessEnd, Rule};
use crate::torture::event::{Answer, Attempt, Ended, Event, Handler, Letter, Record};
use crate::torture::plan::Ledger;

/// The message of all journals.
const N: u64 = 7;

/// A made-up journal.
struct Journal {
    judge: Judge,
    handler: Handler,
    /// The process of the next event.
    process: u32,
}

fn journal(handler: Handler) -> Journal {
    journal_on(Ledger::Sled, handler)
}

fn journal_on(ledger: Ledger, handler: Handler) -> Journal {
    let mut judge = Judge::of(ledger);
    judge.delivered(N, handler, false);
    Journal {
        judge,
        handler,
        process: 1,
    }
}

/// Returns a journal in which two contents are delivered under one key.
fn contended(handler: Handler) -> Journal {
    let mut judge = Judge::default();
    judge.delivered(N, handler, true);
    Journal {
        judge,
        handler,
        process: 1,
    }
}

/// Returns the digest of an attempt's result.
fn digest(token: u64) -> u64 {
    token * 100
}

impl Journal {
    fn event(mut self, event: &Event) -> Self {
        self.judge.take(self.process, event);
        self
    }

    /// Returns the journal, which goes on in another process.
    fn in_process(self, process: u32) -> Self {
        Self { process, ..self }
    }

    fn starts(self, number: u32, token: u64) -> Self {
        self.starts_with(0, number, token)
    }

    fn starts_with(self, variant: u8, number: u32, token: u64) -> Self {
        let of = self.handler.attempts();
        self.event(&Event::Started(Attempt {
            n: N,
            variant,
            number,
            of,
            token,
        }))
    }

    fn ends(self, token: u64, how: Ended) -> Self {
        self.event(&Event::Ended { n: N, token, how })
    }

    fn works(self, number: u32, token: u64) -> Self {
        self.starts(number, token)
            .event(&Event::Effect { n: N, token })
            .ends(token, Ended::Ok(digest(token)))
    }

    fn fails(self, number: u32, token: u64) -> Self {
        self.starts(number, token).ends(token, Ended::Failed)
    }

    fn told(self, answer: Answer) -> Self {
        self.told_with(0, answer)
    }

    fn told_with(self, variant: u8, answer: Answer) -> Self {
        self.event(&Event::Told {
            call: 0,
            n: N,
            variant,
            answer,
        })
    }

    fn told_ok(self, token: u64) -> Self {
        self.told(Answer::Ok {
            token,
            digest: digest(token),
        })
    }

    fn told_dead(self, letter: &str) -> Self {
        self.told(Answer::Dead {
            letter: letter.into(),
            discarded: false,
        })
    }

    fn process_ends(mut self, how: ProcessEnd) -> Self {
        self.judge.process_ended(self.process, how);
        self.process += 1;
        self
    }

    fn killed(self) -> Self {
        self.process_ends(ProcessEnd::Killed)
    }

    fn closing(self, letter: &str, token: u64, redrive: bool) -> Self {
        self.event(&Event::Closing {
            n: N,
            letter: letter.into(),
            token,
            redrive,
        })
    }

    fn redriven(self, letter: &str, token: u64) -> Self {
        self.closing(letter, token, true)
            .event(&Event::LetterClosed {
                n: N,
                letter: letter.into(),
                redrive: true,
            })
    }

    fn discarded(self, letter: &str, token: u64) -> Self {
        self.closing(letter, token, false)
            .event(&Event::LetterClosed {
                n: N,
                letter: letter.into(),
                redrive: false,
            })
    }

    fn letter(self, id: &str, state: &str, reason: &str, outcomes: &[&str]) -> Self {
        let letter = self.letter_of(id, state, reason, outcomes);
        self.event(&Event::Letter(letter))
    }

    fn letter_of(&self, id: &str, state: &str, reason: &str, outcomes: &[&str]) -> Letter {
        Letter {
            n: N,
            handler: self.handler.name().into(),
            letter: id.into(),
            state: state.into(),
            reason: reason.into(),
            attempts: (1..)
                .zip(outcomes.iter().map(ToString::to_string))
                .collect(),
            payload_fits: true,
        }
    }

    /// A message of four attempts that died of them, and whose caller knows.
    fn dies(self, letter: &str, tokens: [u64; 4]) -> Self {
        let ran = (1..).zip(tokens).fold(self, |journal, (number, token)| {
            journal.fails(number, token)
        });
        ran.told(Answer::Own { token: tokens[3] }).told_dead(letter)
    }

    fn left(self, record: Record) -> Self {
        self.event(&Event::Record { n: N, record })
    }

    fn left_done(self, token: u64) -> Self {
        self.left(Record::Done { token })
    }

    fn left_dead(self, token: u64, letter: &str) -> Self {
        self.left(Record::Dead {
            token,
            letter: letter.into(),
        })
    }

    fn left_discarded(self, token: u64, letter: &str) -> Self {
        self.left(Record::Discarded {
            token,
            letter: letter.into(),
        })
    }

    fn faults(mut self) -> Vec<(Rule, String)> {
        self.judge.judge();
        self.judge
            .faults
            .into_iter()
            .map(|fault| (fault.rule, fault.text))
            .collect()
    }

    #[track_caller]
    fn holds(self) {
        assert_eq!(self.faults(), []);
    }

    /// There is one fault, and it is that one.
    #[track_caller]
    fn breaks(self, rule: Rule, text: &str) {
        let faults = self.faults();
        let [(broken, said)] = &faults[..] else {
            panic!("one fault was expected: {faults:#?}")
        };
        assert!(*broken == rule && said.contains(text), "{broken:?}: {said}");
    }
}

const FAILED: [&str; 4] = ["failed"; 4];
