//! Opening: checks the files before fjall may change them, and reads what is kept in memory.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::db::{Db, prefix, unreadable};
use super::journal;
use super::owned::{Held, Owned};
use super::rows::{META, Meta, OPEN, OWNED, ROW, in_list, number_in};
use crate::ledger::LedgerError;
use crate::ledger::folder::{Folder, files};

/// The files by which fjall finds its data. It begins anew where one is missing, and removes what it
/// does not know.
const LANDMARKS: [&str; 3] = ["version", "keyspaces/0/current", "keyspaces/1/current"];

/// A ledger that was read.
pub(super) struct Opened {
    pub(super) db: Db,
    pub(super) meta: Meta,
    pub(super) owned: Owned,
    pub(super) open_letters: u64,
}

impl Opened {
    /// Reads a ledger of which this group was acknowledged. Without a group, goes on with what is left.
    pub(super) fn read(
        folder: &Folder,
        cache_bytes: u64,
        acknowledged: Option<u64>,
    ) -> Result<Self, LedgerError> {
        let (path, tree) = (folder.path(), &folder.tree());
        let acknowledged = acknowledged.filter(|group| *group > 0);
        match acknowledged {
            Some(_) => has_landmarks(tree, path)?,
            None => clear_if_unused(tree).map_err(|error| folder.refused(&error))?,
        }
        // A copy of the folder may lack it. fjall does not open a database without one.
        files::open(
            File::options().create(true).truncate(false).write(true),
            &tree.join("lock"),
        )
        .map_err(|error| folder.refused(&error))?;
        journal::check(tree, path, acknowledged)?;
        let db = Db::open(tree, path, cache_bytes)?;
        let meta = match db.get(META)? {
            Some(meta) => Meta::decode(&meta).ok_or_else(|| unreadable(path))?,
            None => Meta::fresh(),
        };
        if let Some(acknowledged) = acknowledged
            && meta.group < acknowledged
        {
            return Err(LedgerError::Behind {
                path: path.to_owned(),
                found: meta.group,
                acknowledged,
            });
        }
        let mut owned = Owned::default();
        db.scan(prefix(&[OWNED]), |key, list| {
            let group = number_in(key);
            let mut held = Vec::new();
            for row in in_list(list) {
                let found = db.get(&row.in_kind(ROW))?;
                // A list without an owner in it is emptied.
                let owner = found.and_then(|found| Held::read(&found, group));
                held.push((row, owner));
            }
            owned.read_stored(group, held);
            Ok(true)
        })?;
        let mut open_letters = 0;
        db.scan(prefix(&[OPEN]), |_, _| {
            open_letters += 1;
            Ok(true)
        })?;
        Ok(Self {
            db,
            meta,
            owned,
            open_letters,
        })
    }
}

fn has_landmarks(tree: &Path, path: &Path) -> Result<(), LedgerError> {
    for name in LANDMARKS {
        match tree.join(name).try_exists() {
            Ok(true) => {}
            Ok(false) => {
                return Err(LedgerError::Damaged {
                    path: path.to_owned(),
                    detail: format!("the file `{name}` of its engine is missing"),
                });
            }
            Err(error) => return Err(LedgerError::from_io(path, &error)),
        }
    }
    Ok(())
}

/// Removes what an opening has left that died before it had made a database: fjall would refuse it.
fn clear_if_unused(tree: &Path) -> io::Result<()> {
    if tree.join("version").try_exists()? || tree.join("keyspaces/1").try_exists()? {
        return Ok(());
    }
    fs::remove_dir_all(tree)?;
    files::make_folder(tree)
}
