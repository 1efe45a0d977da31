//! What can be wrong with a ledger.

#[cfg(feature = "sled")]
use std::io;
#[cfg(feature = "sled")]
use std::path::Path;
use std::path::PathBuf;

/// The name of the embedded ledger's high-water mark in its folder.
pub(crate) const WITNESS: &str = "witness";

const ONE_PROCESS: &str =
    "an embedded ledger belongs to one process; stop the other one, or give each its own folder";

/// What is wrong with a ledger, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Another process, or another `Idem` of this one, has the folder open.
    #[error(
        "`{}` is in use by {}", path.display(), {
            let though = if *lock_removed { ", though the file `lock` in it was removed" } else { "" };
            match by {
                Some(by) if *by == std::process::id() => {
                    format!("this process already{though}: clone that `Idem`, or close it first")
                }
                Some(by) => format!("process {by}{though}: {ONE_PROCESS}"),
                None => format!("another process{though}: {ONE_PROCESS}"),
            }
        }
    )]
    Held {
        /// The data folder.
        path: PathBuf,
        /// The holder's process id, where it is known.
        by: Option<u32>,
        /// Whether its lock file was removed while it was open; sled's own lock showed that it
        /// still is.
        lock_removed: bool,
    },

    /// The folder cannot be created or written.
    #[error("`{}` cannot be written ({reason}): check the path, its owner and its mode", path.display())]
    NotWritable {
        /// The data folder.
        path: PathBuf,
        /// The system's own words.
        reason: String,
    },

    /// The disk, or the quota, is full. Calls work again once there is room.
    #[error("no room left for `{}` ({reason}): nothing was recorded; free some space and call again", path.display())]
    Full {
        /// The data folder.
        path: PathBuf,
        /// The system's own words.
        reason: String,
    },

    /// The files do not hold what was acknowledged.
    #[error(
        "`{}` has lost acknowledged writes: it ends at group {found}, but group {acknowledged} was answered, so {} groups \
         are missing and their messages would run again; restore the folder from a copy, or, to go on with what is \
         left, remove the file `{}`",
        path.display(), acknowledged - found, WITNESS
    )]
    Behind {
        /// The data folder.
        path: PathBuf,
        /// The last group commit that the files hold.
        found: u64,
        /// The last group commit that was answered.
        acknowledged: u64,
    },

    /// The files are damaged.
    #[error("`{}` is damaged ({detail}): restore the folder from a copy, or, to go on with what is left, remove the file \
         `{}`; what is missing would run again", path.display(), WITNESS)]
    Damaged {
        /// The data folder.
        path: PathBuf,
        /// What was found.
        detail: String,
    },

    /// In place of one of the ledger's files stands something else: nothing of it was read or
    /// written.
    #[error(
        "`{}` is {found}, and a ledger has its own files there: nothing was read or written; put the file itself there, or \
         restore the folder from a copy",
        file.display()
    )]
    OddFile {
        /// Where it stands.
        file: PathBuf,
        /// What it is: a symbolic link, a FIFO, ….
        found: &'static str,
    },

    /// The storage engine panicked, or the system refused it a write or a sync for another reason
    /// than a full disk: what is read back proves nothing, and nothing is answered until the
    /// process starts again.
    #[error("the storage engine under `{}` failed ({detail}): start the process again", path.display())]
    Poisoned {
        /// The data folder.
        path: PathBuf,
        /// The panic's message, or the system's own words.
        detail: String,
    },

    /// The folder was moved or deleted while it was open; nothing is answered until the process
    /// starts again.
    #[error(
        "`{}` was moved or deleted while it was open, and another process may have opened one in its place: nothing more \
         is acknowledged; stop this process, put the folder back where it was, and start again",
        path.display()
    )]
    Moved {
        /// Where the data folder was.
        path: PathBuf,
    },

    /// The process is a fork of the one that opened the ledger, whose threads it does not have.
    #[error(
        "this process was forked from process {opened_by}, which opened the ledger: nothing was recorded; open an Idem \
         with a folder of its own after the fork"
    )]
    Forked {
        /// The process that opened it.
        opened_by: u32,
    },

    /// The system refused a read, or a write outside of the log. The ledger is opened again with
    /// the next call.
    #[error("reading or writing `{}` failed ({reason}): nothing was recorded; call again, and look at the disk if it stays", path.display())]
    Io {
        /// The data folder.
        path: PathBuf,
        /// The system's own words.
        reason: String,
    },

    /// A copy was not made; the ledger itself works on, and what there was of the copy is removed.
    #[error("no copy was made in `{}`: {reason}", path.display())]
    NotCopied {
        /// The copy's folder.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },

    /// One stored record cannot be read; the others can.
    #[error(
        "a stored record cannot be read ({detail}): was it written by a newer version of idem?"
    )]
    Record {
        /// What was found.
        detail: String,
    },

    /// A note's key is too long; nothing was recorded.
    #[error(
        "the note's key that begins with `{key}` takes {length} bytes, and the limit is {limit}: nothing was recorded; \
         write it under a shorter key"
    )]
    KeyTooLong {
        /// How the key begins.
        key: String,
        /// How many bytes it takes, with its number if it gets one.
        length: usize,
        /// How many it may take.
        limit: usize,
    },

    /// The ledger was closed.
    #[error("the ledger was closed, and nothing was recorded: open it again and call again")]
    Closed,

    /// Another kind of ledger has another kind of trouble.
    #[error("{0}")]
    Other(String),
}

impl LedgerError {
    /// Whether only a restart of the process helps.
    #[cfg(feature = "sled")]
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Poisoned { .. } | Self::Moved { .. })
    }

    /// Sorts an error of the system by what a person can do about it.
    #[cfg(feature = "sled")]
    pub(crate) fn from_io(path: &Path, error: &io::Error) -> Self {
        if let Some(told) = error
            .get_ref()
            .and_then(|cause| cause.downcast_ref::<Self>())
        {
            return told.clone();
        }
        let path = path.to_owned();
        let unwrapped = in_debug_text(error);
        let error = unwrapped.as_ref().unwrap_or(error);
        let reason = match error.kind() {
            // A kind's own words are plainer than the debug text of an error that is not the
            // system's.
            kind if error.raw_os_error().is_none() && kind != io::ErrorKind::Other => {
                kind.to_string()
            }
            _ => error.to_string(),
        };
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full { path, reason },
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::NotFound => Self::NotWritable { path, reason },
            // Of sled's files: they end where they should not, or hold what they should not.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Self::Damaged {
                path,
                detail: reason,
            },
            _ => Self::Io { path, reason },
        }
    }
}

/// The system's error in one that sled has cloned: a clone keeps the kind and the debug text, and
/// loses the number.
#[cfg(feature = "sled")]
fn in_debug_text(error: &io::Error) -> Option<io::Error> {
    if error.raw_os_error().is_some() {
        return None;
    }
    let text = error.to_string();
    let (_, rest) = text.split_once("Os { code: ")?;
    let (code, _) = rest.split_once(',')?;
    code.parse().ok().map(io::Error::from_raw_os_error)
}

#[cfg(all(test, feature = "sled"))]
mod tests {
    use super::*;

    /// What sled makes of an error that it tells more than once.
    fn cloned(error: &io::Error) -> io::Error {
        let ::sled::Error::Io(clone) =
            ::sled::Error::Io(io::Error::new(error.kind(), format!("{error:?}"))).clone()
        else {
            unreachable!("a clone is of the same kind")
        };
        clone
    }

    #[test]
    fn every_error_of_the_system_is_told_with_its_words_and_its_number() {
        for (number, words) in [
            (28, "No space left on device"),
            (5, "Input/output error"),
            (122, "quota"),
        ] {
            let error = io::Error::from_raw_os_error(number);
            for error in [cloned(&error), cloned(&cloned(&error)), error] {
                let text = LedgerError::from_io(Path::new("data"), &error).to_string();
                assert!(
                    text.contains(words) && text.contains(&format!("(os error {number})")),
                    "{text}"
                );
            }
        }
        let full = LedgerError::from_io(
            Path::new("data"),
            &cloned(&io::Error::from_raw_os_error(28)),
        );
        assert!(matches!(full, LedgerError::Full { .. }), "{full:?}");
    }
}
