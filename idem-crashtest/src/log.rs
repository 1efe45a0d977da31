//! The file in which a run's processes write down what happens; it outlives them.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use idem_runtime::Attempt;
use serde::{Deserialize, Serialize};

/// Something that happened in one of a run's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The number of the process in its run, from 1.
    pub process: u32,
    /// What happened.
    pub event: Event,
}

/// What a scenario's process writes down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A body was about to start.
    Started(Start),
    /// The scenario noted this text.
    Noted(String),
}

/// An attempt at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Start {
    /// The attempt's number, from 1, counted across restarts.
    pub number: u32,
    /// How many attempts there are at most.
    pub of: u32,
    /// The handler's name in the ledger.
    pub handler: String,
    /// The idempotency key, its parts encoded.
    pub key: String,
    /// The fencing token.
    pub token: u64,
}

/// The open log of one process.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    process: u32,
}

/// One line of the log, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) process: u32,
    pub(crate) step: Step,
}

/// A step of a process on its way through the scenario.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    /// It reached the walk.
    Arrived,
    /// Something happened that the test can see.
    Event(Event),
    /// It passed this failpoint.
    Passed(String),
    /// It crashed there.
    Crashed,
    /// Its scenario came to the end.
    Finished,
}

impl Log {
    pub(crate) fn open(path: &Path, process: u32) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file, process })
    }

    pub(crate) fn write(&self, step: Step) -> io::Result<()> {
        let process = self.process;
        let line = serde_json::to_string(&Line { process, step })?;
        // One write, on a line of its own even where a crash cut the line before.
        (&self.file).write_all(format!("\n{line}\n").as_bytes())
    }

    /// Reads all lines, except those that a crash cut.
    pub(crate) fn read(path: &Path) -> io::Result<Vec<Line>> {
        match std::fs::read(path) {
            Ok(text) => Ok(text
                .split(|byte| *byte == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

impl From<Attempt> for Start {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            of: attempt.of,
            handler: attempt.handler.to_string(),
            key: attempt.key.to_string(),
            token: attempt.token,
        }
    }
}

impl Line {
    /// Returns the entry that the test sees, if the line holds one.
    pub(crate) fn entry(self) -> Option<Entry> {
        match self.step {
            Step::Event(event) => Some(Entry {
                process: self.process,
                event,
            }),
            _ => None,
        }
    }
}
