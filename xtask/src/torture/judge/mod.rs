//! Whether what happened may have happened: events in, faults out.
//!
//! It knows nothing of plans, processes or time: whoever made the events up gets the same verdict.

mod letters;
mod story;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::wire::{Answer, Event, Handler};
use story::Story;

/// What must not happen, in groups that people know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    /// A message that was delivered is neither done nor a dead letter, or what people were told is
    /// gone.
    Lost,
    /// Two answers, or a start after the end.
    Doubled,
    /// More starts than the budget has, or an attempt that was not counted.
    Budget,
    /// Tokens that do not grow, or two bodies of one key at once.
    Fencing,
    /// Letters that do not match the records, the journal or each other.
    Letters,
    /// An error that nobody asked for.
    Refused,
}

/// All of them, in the order in which they are shown.
pub(crate) const RULES: [Rule; 6] = [
    Rule::Lost,
    Rule::Doubled,
    Rule::Budget,
    Rule::Fencing,
    Rule::Letters,
    Rule::Refused,
];

/// One thing that happened and must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) rule: Rule,
    /// The message, where one is concerned.
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
pub(crate) enum LifeEnd {
    Killed,
    /// A body aborted it.
    Aborted,
    /// It closed its ledger with nothing running.
    Closed,
}

/// What was counted on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) answers: u64,
    pub(crate) bodies: u64,
    /// Effects after a message's first: what "at least once" means, where there is no `existing`.
    pub(crate) effects_again: u64,
    /// Results that were held against what their bodies returned.
    pub(crate) results: u64,
    /// Results that were held against what an earlier caller was told.
    pub(crate) replays: u64,
    pub(crate) redrives: u64,
    pub(crate) discards: u64,
    pub(crate) letters: u64,
    pub(crate) done: u64,
    pub(crate) dead: u64,
    pub(crate) discarded: u64,
    pub(crate) expired: u64,
}

/// Everything it was told, in less than a kilobyte a message.
#[derive(Default)]
pub(crate) struct Judge {
    stories: HashMap<u64, Story>,
    lives: Vec<LifeEnd>,
    /// The largest token of earlier processes, and of this one.
    newest: (u64, u64),
    pub(crate) counts: Counts,
    pub(crate) faults: Vec<Fault>,
}

impl Judge {
    /// A message is delivered, perhaps not for the first time.
    pub(crate) fn delivered(&mut self, n: u64, handler: Handler, contended: bool) {
        self.stories
            .entry(n)
            .or_insert_with(|| Story::of(handler, contended));
    }

    /// The process is gone.
    pub(crate) fn life_ended(&mut self, how: LifeEnd) {
        self.lives.push(how);
        self.newest.0 = self.newest.1;
    }

    /// Something that must not happen, and is no message's.
    pub(crate) fn trouble(&mut self, text: impl Into<String>) {
        self.faults.push(Fault {
            rule: Rule::Refused,
            n: None,
            text: text.into(),
        });
    }

    /// One event, in the order in which they happened.
    pub(crate) fn take(&mut self, event: &Event) {
        let n = match event {
            Event::Started(attempt) | Event::LookFailed(attempt) => attempt.n,
            Event::Letter(letter) => letter.n,
            Event::Effect { n, .. }
            | Event::Ended { n, .. }
            | Event::Told { n, .. }
            | Event::Seen { n, .. }
            | Event::Closing { n, .. }
            | Event::LetterClosed { n, .. }
            | Event::Record { n, .. } => *n,
            Event::Trouble { text } => return self.trouble(text),
            Event::Opened | Event::Closed | Event::Hanging { .. } | Event::Aborting { .. } => {
                return;
            }
            Event::Killing | Event::Said => return,
        };
        let Some(story) = self.stories.get_mut(&n) else {
            let text = format!("nobody delivered it, and there is {event:?}");
            return self.faults.push(Fault {
                rule: Rule::Letters,
                n: Some(n),
                text,
            });
        };
        let (life, counts) = (self.lives.len(), &mut self.counts);
        match event {
            Event::Started(attempt) | Event::LookFailed(attempt) => {
                let body = matches!(event, Event::Started(_));
                counts.bodies += u64::from(body);
                story.started(attempt, life, body, self.newest.0);
                self.newest.1 = self.newest.1.max(attempt.token);
            }
            Event::Effect { .. } => counts.effects_again += u64::from(story.has_an_effect()),
            Event::Ended { token, how, .. } => story.ended(*token, *how),
            Event::Told {
                variant, answer, ..
            } => {
                counts.answers += u64::from(*answer != Answer::Dropped);
                story.told(*variant, answer, counts);
            }
            Event::Seen { letter, .. } => story.saw(letter),
            Event::Closing {
                letter,
                token,
                redrive,
                ..
            } => story.closing(letter, *token, *redrive),
            Event::LetterClosed {
                letter, redrive, ..
            } => {
                *(if *redrive {
                    &mut counts.redrives
                } else {
                    &mut counts.discards
                }) += 1;
                story.letter_closed(letter);
            }
            Event::Letter(letter) => {
                counts.letters += 1;
                story.found_letter(letter);
            }
            Event::Record { record, .. } => story.found_record(record, counts),
            _ => {}
        }
        self.faults.extend(story.take_faults(n));
    }

    /// Holds what is left in the ledger, of which everything was said, against everything before.
    pub(crate) fn judge(&mut self) {
        for (n, story) in &mut self.stories {
            story.judge(&self.lives);
            self.faults.extend(story.take_faults(*n));
        }
        self.faults.sort_by_key(|fault| (fault.n, fault.rule));
    }
}
