//! What came of one run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::diary::{Entry, Event};
use super::places::Place;
use crate::protocol::{
    DeadLetter, LetterState, Record, RecordId, Settled, Settlement, StoredResult,
};
use crate::{Attempt, Error, Filter, IdemBuilder};

/// One run of a scenario: it died at a place, was started again until it got through, and this is
/// what is left.
///
/// Its `Display` says in a line or more how often each body started and what is recorded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Run {
    /// Where it died; nothing for the one run that was left alone.
    pub place: Option<Place>,
    /// How many processes it took.
    pub lives: u32,
    /// What they wrote down, in the order in which it happened.
    pub diary: Vec<Entry>,
    /// What the ledger remembers at the end of each key whose body started or that has a letter; a
    /// key that it does not remember is absent.
    pub records: BTreeMap<RecordId, Record>,
    /// Every dead letter at the end, open and closed, oldest first.
    pub letters: Vec<DeadLetter>,
}

impl Run {
    /// How often the body of a message started, in all processes.
    pub fn starts(&self, handler: &str, key: &str) -> usize {
        self.attempts()
            .filter(|attempt| (&*attempt.handler, &*attempt.key) == (handler, key))
            .count()
    }

    /// The attempts that started, in their order.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.diary.iter().filter_map(|entry| match &entry.event {
            Event::Started(attempt) => Some(attempt),
            Event::Noted(_) => None,
        })
    }

    /// What the scenario noted, in its order.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.diary.iter().filter_map(|entry| match &entry.event {
            Event::Noted(note) => Some(note.as_str()),
            Event::Started(_) => None,
        })
    }

    /// What the ledger remembers of a message.
    pub fn record(&self, handler: &str, key: &str) -> Option<&Record> {
        self.records.get(&RecordId {
            handler: handler.into(),
            key: key.into(),
        })
    }

    /// A message's recorded result; nothing where none is recorded, or not of this type.
    pub fn result<T: DeserializeOwned>(&self, handler: &str, key: &str) -> Option<T> {
        match self.record(handler, key)? {
            Record::Settled(Settled {
                end: Settlement::Done(StoredResult::Json(json)),
                ..
            }) => serde_json::from_slice(json).ok(),
            _ => None,
        }
    }

    /// The open dead letters of a message; there should never be more than one.
    pub fn open_letters(&self, handler: &str, key: &str) -> impl Iterator<Item = &DeadLetter> {
        self.letters.iter().filter(move |letter| {
            letter.state == LetterState::Open && letter.handler == handler && letter.key == key
        })
    }

    /// Opens what a run left behind and reads it.
    pub(super) async fn of(
        place: Option<Place>,
        lives: u32,
        diary: Vec<Entry>,
        builder: IdemBuilder,
        data: &Path,
    ) -> Result<Self, Error> {
        let idem = builder.open(data)?;
        let mut letters = idem
            .dead_letters()
            .list(&Filter::default().any_state().limit(usize::MAX))
            .await?;
        letters.reverse();
        let mut run = Self {
            place,
            lives,
            diary,
            records: BTreeMap::new(),
            letters,
        };
        for id in run.ids() {
            if let Some(record) = idem.record(&id).await? {
                run.records.insert(id, record);
            }
        }
        Ok(run)
    }

    /// The messages that were seen.
    fn ids(&self) -> BTreeSet<RecordId> {
        let started = self.attempts().map(|at| RecordId {
            handler: at.handler.clone(),
            key: at.key.clone(),
        });
        let died = self.letters.iter();
        started
            .chain(died.map(|at| RecordId {
                handler: at.handler.as_str().into(),
                key: at.key.as_str().into(),
            }))
            .collect()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}:")?,
            None => write!(f, "left alone:")?,
        }
        let ids = self.ids();
        for id in &ids {
            let starts = self.starts(&id.handler, &id.key);
            let (before, times) = (
                if ids.len() > 1 { "\n  " } else { " " },
                if starts == 1 { "time" } else { "times" },
            );
            write!(
                f,
                "{before}{} {} started {starts} {times}, ",
                id.handler, id.key
            )?;
            tell(f, self.records.get(id))?;
        }
        Ok(())
    }
}

/// A record in a few words.
fn tell(f: &mut fmt::Formatter<'_>, record: Option<&Record>) -> fmt::Result {
    match record {
        None => write!(f, "nothing recorded"),
        Some(Record::Live(_)) => write!(f, "not at its end"),
        Some(Record::Settled(settled)) => match &settled.end {
            Settlement::Done(StoredResult::Json(json)) => {
                let text = String::from_utf8_lossy(json);
                let short: String = text.chars().take(60).collect();
                write!(
                    f,
                    "done: {short}{}",
                    if short.len() < text.len() { "…" } else { "" }
                )
            }
            Settlement::Done(StoredResult::TooLarge(size)) => {
                write!(f, "done: a result of {size} bytes, not kept")
            }
            Settlement::Dead(letter) => write!(f, "dead letter {letter}"),
            Settlement::Discarded(letter) => write!(f, "discarded dead letter {letter}"),
            Settlement::Issued => write!(f, "issued"),
        },
    }
}
