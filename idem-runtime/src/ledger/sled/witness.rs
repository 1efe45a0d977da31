//! The witness: a small file beside sled's that says which group was answered last.
//!
//! sled opens a shortened or missing log as a smaller ledger, without a word; the witness is what makes that an error.
//! It is written after each group's `fdatasync` and not synced itself, so it can lag but never lead.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(super) struct Witness {
    file: File,
    group: u64,
}

/// What a witness file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Testimony {
    /// There is none: a new ledger, or a person who chose to go on with what is left.
    Silent,
    /// This group was answered.
    Acknowledged(u64),
    /// The file is there and says nothing that can be read.
    Unreadable,
}

impl Witness {
    /// Reads the file without making one.
    pub(super) fn read(path: &Path) -> io::Result<Testimony> {
        let mut text = String::new();
        match File::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Testimony::Silent),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Testimony::Unreadable),
            Err(error) => Err(error),
            Ok(_) => {
                let group = text.strip_prefix("group ").and_then(|rest| rest.lines().next()?.parse().ok());
                Ok(group.map_or(Testimony::Unreadable, Testimony::Acknowledged))
            }
        }
    }

    /// Opens the file for writing, and makes it durable once, so that the writes after it stay in place.
    pub(super) fn start(path: &Path, group: u64) -> io::Result<Self> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        let mut witness = Self { file, group };
        witness.write(group)?;
        witness.file.sync_all()?;
        Ok(witness)
    }

    /// Says that this group was answered.
    pub(super) fn write(&mut self, group: u64) -> io::Result<()> {
        self.group = group;
        self.file.write_all_at(format!("group {group:020}\n").as_bytes(), 0)
    }

    /// The last group that was answered.
    pub(super) fn group(&self) -> u64 {
        self.group
    }
}
