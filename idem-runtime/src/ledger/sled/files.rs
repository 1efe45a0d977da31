//! sled's own files: copied, and closed to other users.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::ledger::folder::files::{FILE, FOLDER, open, read};

/// Copies a file to one that is new.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<File> {
    let mut copy = open(File::options().write(true).create_new(true), to)?;
    io::copy(&mut read(from)?, &mut copy)?;
    Ok(copy)
}

/// The names in a folder.
pub(super) fn names(folder: &Path) -> io::Result<HashSet<OsString>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// Closes to other users what sled has made since these were the names in its folder: it makes
/// files as the umask says.
pub(super) fn close_new(tree: &Path, before: &HashSet<OsString>) -> io::Result<()> {
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        if !before.contains(&entry.file_name()) {
            let mode = if entry.file_type()?.is_dir() {
                FOLDER
            } else {
                FILE
            };
            match fs::set_permissions(entry.path(), Permissions::from_mode(mode)) {
                // sled's background has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                set => set?,
            }
        }
    }
    Ok(())
}
