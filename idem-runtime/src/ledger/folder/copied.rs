//! The file `copied` in a copy: of which folder it is, and when it was made.
//!
//! A copy that takes the place of its ledger knows nothing of what was recorded since, so its
//! openings say so until a person has removed the file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use jiff::Timestamp;

use super::files;

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
