//! The ledger's files: regular ones, reached by no link, and closed to other users.
//!
//! Another user may have prepared the folder, so everything below it is opened by names that are
//! known beforehand: a link would lead to a file of theirs or ours, and a FIFO would keep the
//! caller waiting.

use std::fs::{self, DirBuilder, File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::engine::Engine;
use crate::ledger::LedgerError;

pub(in crate::ledger) const FILE: u32 = 0o600;
pub(in crate::ledger) const FOLDER: u32 = 0o700;

/// Opens a regular file, and nothing else. One that is made is closed to other users.
pub(in crate::ledger) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match options
        .mode(FILE)
        .custom_flags(flags.bits() as i32)
        .open(path)
    {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        // A link says `ELOOP`, and a FIFO or a folder has errors of its own.
        opened => Err(is_file(path)
            .err()
            .or(opened.err())
            .unwrap_or_else(|| odd(path, "no regular file"))),
    }
}

/// Opens a regular file to read it.
pub(in crate::ledger) fn read(path: &Path) -> io::Result<File> {
    open(File::options().read(true), path)
}

/// Refuses anything but a regular file. A missing one is not an error.
fn is_file(path: &Path) -> io::Result<()> {
    match found(path)? {
        Some(there) if !there.is_file() => Err(odd(path, name(there))),
        _ => Ok(()),
    }
}

/// Refuses anything but a folder. Returns whether there is one.
fn is_folder(path: &Path) -> io::Result<bool> {
    match found(path)? {
        Some(there) if !there.is_dir() => Err(odd(path, name(there))),
        there => Ok(there.is_some()),
    }
}

/// Refuses a data folder in which something else stands where a ledger has its files. Engines open
/// their own by their names, so they are looked at before it does. The data folder itself may be
/// reached through a link.
pub(in crate::ledger) fn look(folder: &Path) -> io::Result<()> {
    for name in [
        "lock",
        crate::ledger::error::WITNESS,
        super::witness::UNNAMED,
        super::copied::COPIED,
        super::PROBE,
    ] {
        is_file(&folder.join(name))?;
    }
    Engine::ALL
        .into_iter()
        .try_for_each(|engine| look_below(&folder.join(engine.name()), engine))
}

/// Refuses anything but files and folders of the engine's in one of its folders.
fn look_below(folder: &Path, engine: Engine) -> io::Result<()> {
    if !is_folder(folder)? {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match found(&path)? {
            Some(there) if there.is_dir() && engine.has_folder(&path) => look_below(&path, engine)?,
            _ => is_file(&path)?,
        }
    }
    Ok(())
}

/// Makes a folder that is closed to other users, and those above it that are not there.
pub(in crate::ledger) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// What stands at a path, without following a link.
fn found(path: &Path) -> io::Result<Option<FileType>> {
    match fs::symlink_metadata(path) {
        Ok(there) => Ok(Some(there.file_type())),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn name(there: FileType) -> &'static str {
    match there {
        _ if there.is_symlink() => "a symbolic link",
        _ if there.is_fifo() => "a FIFO",
        _ if there.is_socket() => "a socket",
        _ if there.is_dir() => "a folder",
        _ if there.is_file() => "a file",
        _ => "a device",
    }
}

fn odd(path: &Path, found: &'static str) -> io::Error {
    io::Error::other(LedgerError::OddFile {
        file: path.to_owned(),
        found,
    })
}
