//! `idem restore`: puts a backup in the place of a folder that was lost.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use idem_runtime::ledger::{Engine, LedgerError};
use serde_json::json;

use super::args::Place;
use super::out::Out;
use super::problem::Problem;
use super::target::{Location, OpenError, copied, open, stays_theirs};

pub(super) async fn run(from: &Path, at: Location, place: &Place, out: Out) -> Result<(), Problem> {
    let Location::Folder(to) = at else {
        return Err(Problem::usage(
            "name the folder to restore with `--data`: a database is restored by its own tools",
        ));
    };
    let mark = look(from)?;
    let was_there = to.exists();
    let empty = fs::read_dir(&to).map_or(!was_there, |mut names| names.next().is_none());
    if !empty {
        return Err(Problem::usage(format!(
            "`{}` is not empty: move what is in it away, and keep it until all is well",
            to.display()
        )));
    }
    if let Ok(found) = fs::metadata(&to) {
        stays_theirs(&to, &found).map_err(OpenError::into_problem)?;
    }
    if is_inside(&to, from) {
        return Err(Problem::usage(format!(
            "`{}` is inside the backup: name a folder elsewhere",
            to.display()
        )));
    }
    let mut made = Vec::new();
    let restored = match copy_all(from, &to, &mut made) {
        Ok(()) => prove(from, &to, place).await,
        Err(error) => Err(Problem::failed(format!(
            "`{}` cannot be copied to `{}`: {error}",
            from.display(),
            to.display()
        ))),
    };
    if restored.is_err() {
        // What is left of it would look like a ledger.
        if let Some(engine) = Engine::of(&to) {
            let _ = fs::remove_dir_all(to.join(engine.name()));
        }
        made.push(to.join("lock"));
        for path in made.iter().rev() {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        }
        if !was_there {
            let _ = fs::remove_dir(&to);
        }
    }
    restored?;
    out.answer(&json!({ "restored": to, "copied": mark }), |_| {
        format!(
            "`{}` is restored: it was copied {mark}.\n\
             Messages that were recorded after that time are not known to it: they may run again if they come \
             again. Handlers with `existing` look in the business table first. The service warns at each start \
             until the file `copied` is removed.",
            to.display()
        )
    })
}

/// Returns what the backup says of itself.
fn look(from: &Path) -> Result<String, Problem> {
    let shown = from.display();
    if let Err(error) = fs::read_dir(from) {
        return Err(Problem::usage(format!("`{shown}` cannot be read: {error}")));
    }
    let Some(mark) = copied(from) else {
        return Err(Problem::usage(format!(
            "`{shown}` is no backup: the file `copied`, which `idem backup` makes, is not in it, or cannot be read"
        )));
    };
    let lacks = if mark.is_empty() {
        Some("the file `copied` in it is empty")
    } else if !from.join("witness").is_file() {
        // Without it, no opening can tell what is missing.
        Some("the file `witness` is missing in it")
    } else {
        None
    };
    if let Some(lacks) = lacks {
        return Err(Problem::failed(format!(
            "`{shown}` is no whole backup: {lacks}. Copy it again from where it was made, or take another one"
        )));
    }
    let lock = File::open(from.join("lock")).map(|lock| lock.try_lock_shared());
    if let Ok(Err(TryLockError::WouldBlock)) = lock {
        return Err(Problem::usage(format!(
            "a service has `{shown}` open: it was restored from a backup, and is none any more. Name a backup"
        )));
    }
    Ok(mark)
}

/// Returns whether a folder, which may not be there yet, is another one or below it.
fn is_inside(folder: &Path, other: &Path) -> bool {
    let (Ok(folder), Ok(other)) = (std::path::absolute(folder), other.canonicalize()) else {
        return false;
    };
    let there = folder
        .ancestors()
        .find_map(|above| above.canonicalize().ok());
    there.is_some_and(|there| there.starts_with(other))
}

/// Copies the files of a backup. What it makes is pushed to `made`.
///
/// The witness comes first: if the copying is cut off, services refuse what is there.
fn copy_all(from: &Path, to: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    copy_file(&from.join("witness"), &to.join("witness"), made)?;
    File::open(to)?.sync_all()?;
    copy_folder(from, to, made)
}

fn copy_folder(from: &Path, to: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    for file in fs::read_dir(from)? {
        let file = file?;
        let (name, kind) = (file.file_name(), file.file_type()?);
        let target = to.join(&name);
        if name == "lock" || target.exists() {
            continue;
        }
        if kind.is_dir() {
            DirBuilder::new().mode(0o700).create(&target)?;
            made.push(target.clone());
            copy_folder(&file.path(), &target, made)?;
        } else if kind.is_file() {
            copy_file(&file.path(), &target, made)?;
        } else {
            let odd = format!("`{}` is no regular file", file.path().display());
            return Err(io::Error::other(odd));
        }
    }
    File::open(to)?.sync_all()
}

/// Copies a file to one that is closed to other users.
fn copy_file(from: &Path, to: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut options = File::options();
    let mut copy = options.write(true).create_new(true).mode(0o600).open(to)?;
    made.push(to.to_owned());
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.sync_all()
}

/// Opens the folder, which refuses one that lacks anything.
async fn prove(from: &Path, to: &Path, place: &Place) -> Result<(), Problem> {
    let idem = open(to, place).map_err(|error| match error {
        OpenError::Ledger(LedgerError::Behind { .. } | LedgerError::Damaged { .. }) => {
            Problem::failed(format!(
                "the backup `{}` is not whole ({}). Take another one; nothing was restored",
                from.display(),
                error.says().0
            ))
        }
        error => error.into_problem(),
    })?;
    let closed = idem.close().await;
    closed.map_err(|error| Problem::failed(format!("{error:#}")))
}
