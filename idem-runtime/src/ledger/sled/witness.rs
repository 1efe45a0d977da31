//! The witness: a small file beside sled's that says which group was answered last.
//!
//! sled opens a shortened or missing log as a smaller ledger, without a word; the witness is what makes that an error.
//! It is written after each group's `fdatasync` and not synced itself, so it can lag but never lead.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::folder::Folder;
use crate::ledger::LedgerError;

pub(super) struct Witness {
    file: File,
    group: u64,
}

impl Witness {
    /// Reads the file without making one: the last group that was answered. Nothing where there is no file: a new ledger,
    /// or a person who chose to go on with what is left.
    pub(super) fn read(folder: &Folder) -> Result<Option<u64>, LedgerError> {
        let unreadable =
            || LedgerError::Damaged { path: folder.path().to_owned(), detail: "its witness cannot be read".to_owned() };
        match fs::read_to_string(folder.witness()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(unreadable()),
            Err(error) => Err(folder.refused(&error)),
            Ok(text) => {
                let group = text.strip_prefix("group ").and_then(|rest| rest.lines().next()?.parse().ok());
                group.map(Some).ok_or_else(unreadable)
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
