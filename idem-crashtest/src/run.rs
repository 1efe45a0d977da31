//! What one run left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use idem_runtime::protocol::{Record, RecordId, Settled, Settlement, StoredResult};
use idem_runtime::{DeadLetter, Error, Filter, IdemBuilder, LetterState};
use serde::de::DeserializeOwned;

use crate::failpoints::Crash;
use crate::log::{Entry, Event, Start};

/// What one run of a scenario left: it crashed, and was started again until it finished.
///
/// Its `Display` shows how often each body started and what is recorded, one message a line.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Run {
    /// Where and how it crashed; `None` for the undisturbed run.
    pub crash: Option<Crash>,
    /// How many processes it took.
    pub processes: u32,
    /// What they wrote down, in the order in which it happened.
    pub log: Vec<Entry>,
    /// The record of each key whose body started or that has a dead letter. A key without a record
    /// is absent.
    pub records: BTreeMap<RecordId, Record>,
    /// All dead letters, open and closed, oldest first.
    pub letters: Vec<DeadLetter>,
}

impl Run {
    /// Returns how often the body of a message started, in all processes.
    pub fn starts(&self, handler: &str, key: &str) -> usize {
        self.attempts()
            .filter(|start| (&*start.handler, &*start.key) == (handler, key))
            .count()
    }

    /// Returns the attempts that started, in their order.
    pub fn attempts(&self) -> impl Iterator<Item = &Start> {
        self.log.iter().filter_map(|entry| match &entry.event {
            Event::Started(start) => Some(start),
            Event::Noted(_) => None,
        })
    }

    /// Returns what the scenario noted, in its order.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.log.iter().filter_map(|entry| match &entry.event {
            Event::Noted(note) => Some(note.as_str()),
            Event::Started(_) => None,
        })
    }

    /// Returns the record of a message.
    pub fn record(&self, handler: &str, key: &str) -> Option<&Record> {
        self.records.get(&RecordId::new(handler, key))
    }

    /// Returns a message's recorded result; `None` if there is none, or it has another type.
    pub fn result<T: DeserializeOwned>(&self, handler: &str, key: &str) -> Option<T> {
        match self.record(handler, key)? {
            Record::Settled(Settled {
                end: Settlement::Done(StoredResult::Json { json, .. }),
                ..
            }) => serde_json::from_slice(json).ok(),
            _ => None,
        }
    }

    /// Returns the open dead letters of a message; there should never be more than one.
    pub fn open_letters(&self, handler: &str, key: &str) -> impl Iterator<Item = &DeadLetter> {
        self.letters.iter().filter(move |letter| {
            letter.state == LetterState::Open && letter.handler == handler && letter.key == key
        })
    }

    /// Opens the data folder of a run and reads it.
    pub(crate) async fn read(
        crash: Option<Crash>,
        processes: u32,
        log: Vec<Entry>,
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
            crash,
            processes,
            log,
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

    /// Returns the messages that a body started for or that have a dead letter.
    fn ids(&self) -> BTreeSet<RecordId> {
        let started = self
            .attempts()
            .map(|at| RecordId::new(at.handler.as_str(), at.key.as_str()));
        let died = self.letters.iter();
        started
            .chain(died.map(|at| RecordId::new(at.handler.as_str(), at.key.as_str())))
            .collect()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.crash {
            Some(crash) => write!(f, "{crash}:")?,
            None => write!(f, "no crash:")?,
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
            describe(f, self.records.get(id))?;
        }
        Ok(())
    }
}

/// Writes a record in a few words.
fn describe(f: &mut fmt::Formatter<'_>, record: Option<&Record>) -> fmt::Result {
    match record {
        None => write!(f, "no record"),
        Some(Record::Live(_)) => write!(f, "unfinished"),
        Some(Record::Settled(settled)) => match &settled.end {
            Settlement::Done(StoredResult::Json { json, .. }) => {
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
            other => write!(f, "settled: {other:?}"),
        },
    }
}
