//! Copies of a folder, and the file `copied` in one: of which folder it is, and when it was made.
//!
//! A copy that takes the place of its ledger knows nothing of what was recorded since, so its
//! openings say so until a person has removed the file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use jiff::Timestamp;

use super::{Folder, files};
use crate::ledger::LedgerError;

pub(in crate::ledger) const COPIED: &str = "copied";
/// Two paths are longer.
const LONGEST: u64 = 8192;

/// Writes it into a new copy.
pub(in crate::ledger) fn mark(copy: &Path, from: &Path, at: Timestamp) -> io::Result<()> {
    let mut file = files::open(
        File::options().write(true).create_new(true),
        &copy.join(COPIED),
    )?;
    writeln!(file, "from {} at {at:.0}", from.display())?;
    file.sync_all()
}

/// Says at an opening that the folder is a copy, if it is one.
pub(in crate::ledger) fn say(folder: &Path) {
    let mut text = String::new();
    let Ok(file) = files::read(&folder.join(COPIED)) else {
        return;
    };
    // What cannot be read is not worth an error.
    let _ = file.take(LONGEST).read_to_string(&mut text);
    tracing::warn!(
        folder = %folder.display(),
        copied = text.trim_end(),
        "this ledger is a copy: messages that were recorded since may run again if they come again. \
         Remove the file `{COPIED}` to end this warning"
    );
}

/// Makes a copy in a folder that is empty or not there, and has it filled. One that is not whole is removed.
pub(in crate::ledger) fn make(
    from: &Folder,
    to: &Path,
    fill: impl FnOnce(&Folder) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let refused = |reason: &str| LedgerError::NotCopied {
        path: to.to_owned(),
        reason: reason.to_owned(),
    };
    match fs::read_dir(to).map(|mut names| names.next().is_some()) {
        Ok(false) => {}
        Ok(true) => {
            return Err(refused(
                "it is not empty: name an empty folder, or one that is not there yet. If another backup \
                 is being made in it, wait for that one",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(LedgerError::from_io(to, &error)),
    }
    let copy = Folder::hold(to, from.engine).inspect_err(|error| {
        // One that another copy is being made in is not this one's.
        if !matches!(error, LedgerError::Held { .. }) {
            let _ = fs::remove_dir(to.join(from.engine.name()));
        }
    })?;
    // From here on another copy into the same folder is refused, so what is removed is this one's.
    let made = inside(from, &copy).and_then(|inside| match inside {
        true => Err(refused(
            "it is inside the ledger's own folder; name one outside",
        )),
        false => fill(&copy),
    });
    if made.is_err()
        && let Err(error) = copy.remove()
    {
        tracing::warn!(folder = %to.display(), %error, "what there is of a copy that failed cannot be removed");
    }
    made
}

fn inside(own: &Folder, copy: &Folder) -> Result<bool, LedgerError> {
    let real = |folder: &Folder| {
        folder
            .path()
            .canonicalize()
            .map_err(|error| folder.refused(&error))
    };
    Ok(real(copy)?.starts_with(real(own)?))
}
