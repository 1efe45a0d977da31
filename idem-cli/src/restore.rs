//! `idem restore`: puts a backup in the place of a folder that was lost.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Place;
use super::out::Out;
use super::problem::Problem;
use super::target::{Location, OpenError, copied, open};

pub(super) async fn run(from: &Path, at: Location, place: &Place, out: Out) -> Result<(), Problem> {
    let Location::Folder(to) = at else {
        return Err(Problem::usage(
            "name the folder to restore with `--data`: a database is restored by its own tools",
        ));
    };
    let Some(mark) = copied(from) else {
        return Err(Problem::usage(format!(
            "`{}` is no backup: the file `copied`, which `idem backup` makes, is not in it",
            from.display()
        )));
    };
    let was_there = to.exists();
    let empty = fs::read_dir(&to).map_or(!was_there, |mut names| names.next().is_none());
    if !empty {
        return Err(Problem::usage(format!(
            "`{}` is not empty: move what is in it away, and keep it until all is well",
            to.display()
        )));
    }
    let mut made = Vec::new();
    let restored = match copy(from, &to, &mut made) {
        Ok(()) => prove(&to, place).await,
        Err(error) => Err(Problem::failed(format!(
            "`{}` cannot be copied to `{}`: {error}",
            from.display(),
            to.display()
        ))),
    };
    if restored.is_err() {
        // What is left of it would look like a ledger.
        made.push(to.join("lock"));
        made.iter().for_each(|file| drop(fs::remove_file(file)));
        let _ = fs::remove_dir_all(to.join("sled"));
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

/// Copies the files of a backup. Their names are pushed to `made`.
fn copy(from: &Path, to: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let (name, kind) = (file.file_name(), file.file_type()?);
        if name == "lock" {
            continue;
        }
        let target = to.join(&name);
        if kind.is_dir() {
            copy(&file.path(), &target, made)?;
        } else if kind.is_file() {
            made.push(target.clone());
            fs::copy(file.path(), &target)?;
            File::open(&target)?.sync_all()?;
        } else {
            let odd = format!("`{}` is no regular file", file.path().display());
            return Err(io::Error::other(odd));
        }
    }
    File::open(to)?.sync_all()
}

/// Opens the folder, which refuses one that lacks anything.
async fn prove(to: &Path, place: &Place) -> Result<(), Problem> {
    let idem = open(to, place).map_err(OpenError::into_problem)?;
    let closed = idem.close().await;
    closed.map_err(|error| Problem::failed(format!("{error:#}")))
}
