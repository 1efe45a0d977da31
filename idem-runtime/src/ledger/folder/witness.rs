//! The witness: a small file beside sled's that says which group was answered last.
//!
//! sled opens a shortened or missing log as a smaller ledger, without a word; the witness is what
//! makes that an error. It is written after each group's `fdatasync` and not synced itself, so it
//! can lag but never lead.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{Folder, files};
use crate::failpoint;
use crate::ledger::LedgerError;

/// Where a new witness is written before it has its name.
pub(in crate::ledger) const UNNAMED: &str = "witness.new";
/// What a witness says is half as long.
const LONGEST: u64 = 64;

pub(in crate::ledger) struct Witness {
    file: File,
    group: u64,
}

impl Witness {
    /// Reads the file without making one: the last group that was answered. Nothing where there is
    /// no file: a new ledger, or a person who chose to go on with what is left. A blank one names
    /// group 0.
    pub(in crate::ledger) fn read(folder: &Folder) -> Result<Option<u64>, LedgerError> {
        let read = || {
            let mut text = String::new();
            files::read(&folder.witness())?
                .take(LONGEST + 1)
                .read_to_string(&mut text)?;
            Ok::<_, io::Error>(text)
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(unreadable(folder)),
            Err(error) => Err(folder.refused(&error)),
            Ok(text) if text.len() as u64 > LONGEST => Err(unreadable(folder)),
            Ok(text) if text.bytes().all(|byte| byte == 0) => Ok(Some(0)),
            Ok(text) => {
                let group = text
                    .strip_prefix("group ")
                    .and_then(|rest| rest.lines().next()?.parse().ok());
                group.map(Some).ok_or_else(|| unreadable(folder))
            }
        }
    }

    /// Reads the file of a folder that is to be read as it is.
    pub(in crate::ledger) fn must_be_in(folder: &Folder) -> Result<u64, LedgerError> {
        Self::read(folder)?.ok_or_else(|| LedgerError::Damaged {
            path: folder.path().to_owned(),
            detail: "the file `witness` is missing, so it is not known whether it is whole"
                .to_owned(),
        })
    }

    /// Puts a new file in place of the old one, if there is one: a cut or a full disk leaves the
    /// old one, or none. It is durable then, so that the writes after it stay in place.
    pub(in crate::ledger) fn start(folder: &Folder, group: u64) -> io::Result<Self> {
        let unnamed = unnamed(folder);
        let file = files::open(
            File::options().create(true).truncate(true).write(true),
            &unnamed,
        )?;
        let mut witness = Self { file, group };
        failpoint::point!(WITNESS_MADE, |_| Err(io::Error::from_raw_os_error(28)));
        witness.write(group)?;
        witness.file.sync_all()?;
        failpoint::point!(WITNESS_SYNCED);
        fs::rename(unnamed, folder.witness())?;
        failpoint::point!(WITNESS_NAMED);
        folder.sync()?;
        Ok(witness)
    }

    /// Says that this group was answered.
    pub(in crate::ledger) fn write(&mut self, group: u64) -> io::Result<()> {
        self.group = group;
        self.file
            .write_all_at(format!("group {group:020}\n").as_bytes(), 0)
    }

    /// The last group that was answered.
    pub(in crate::ledger) fn group(&self) -> u64 {
        self.group
    }
}

pub(in crate::ledger) fn unnamed(folder: &Folder) -> PathBuf {
    folder.path().join(UNNAMED)
}

pub(in crate::ledger) fn unreadable(folder: &Folder) -> LedgerError {
    LedgerError::Damaged {
        path: folder.path().to_owned(),
        detail: "its witness cannot be read".to_owned(),
    }
}
