//! What a run's processes write down for the test to read: one file that outlives them.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Attempt;

/// Something that happened in one of a run's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// In which process, from 1.
    pub life: u32,
    /// What.
    pub event: Event,
}

/// What a scenario's process writes down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A body was about to start.
    Started(Attempt),
    /// The scenario's own words.
    Noted(String),
}

/// The open file.
#[derive(Debug)]
pub(super) struct Diary {
    file: File,
    life: u32,
}

/// One line of it, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) life: u32,
    pub(super) what: What,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// The process came to the walk.
    Arrived,
    Started {
        handler: String,
        key: String,
        number: u32,
        of: u32,
        token: u64,
    },
    Noted(String),
    /// It came by a point.
    Passed(String),
    /// It died there.
    Died,
    /// The scenario came to its end.
    Finished,
}

impl Diary {
    pub(super) fn open(path: &Path, life: u32) -> io::Result<Self> {
        Ok(Self {
            file: File::options().create(true).append(true).open(path)?,
            life,
        })
    }

    pub(super) fn write(&self, what: What) -> io::Result<()> {
        let line = serde_json::to_string(&Line {
            life: self.life,
            what,
        })?;
        // One write, on a line of its own even where a death cut the line before.
        (&self.file).write_all(format!("\n{line}\n").as_bytes())
    }

    /// Everything that was written; a line that a death cut is left out.
    pub(super) fn read(path: &Path) -> io::Result<Vec<Line>> {
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

impl From<Attempt> for What {
    fn from(
        Attempt {
            number,
            of,
            handler,
            key,
            token,
        }: Attempt,
    ) -> Self {
        What::Started {
            handler: handler.to_string(),
            key: key.to_string(),
            number,
            of,
            token,
        }
    }
}

impl Line {
    /// The line as the test sees it, if it is one of those.
    pub(super) fn entry(self) -> Option<Entry> {
        let event = match self.what {
            What::Started {
                handler,
                key,
                number,
                of,
                token,
            } => Event::Started(Attempt {
                number,
                of,
                handler: Arc::from(handler),
                key: Arc::from(key),
                token,
            }),
            What::Noted(note) => Event::Noted(note),
            What::Arrived | What::Passed(_) | What::Died | What::Finished => return None,
        };
        Some(Entry {
            life: self.life,
            event,
        })
    }
}
