//! The errors of a ledger.

use std::error::Error as StdError;
use std::fmt;
#[cfg(feature = "__folder")]
use std::io;
#[cfg(feature = "__folder")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::with_cause;

/// The name of the embedded ledger's high-water mark in its folder.
pub(crate) const WITNESS: &str = "witness";

const ONE_PROCESS: &str = "An embedded ledger belongs to one process: stop the other one, or give \
                           each its own folder";

/// An error of a ledger. Its text says what happened, then what to do. The alternate form, `{:#}`,
/// adds the causes.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Another process, or another `Idem` of this one, has the folder open.
    #[error(
        "`{}` is in use by {}", path.display(), {
            let though = if *lock_removed { ", though the file `lock` in it was removed" } else { "" };
            match by {
                Some(by) if *by == std::process::id() => {
                    format!("this process{though}. Clone that `Idem`, or close it first")
                }
                Some(by) => format!("process {by}{though}. {ONE_PROCESS}"),
                None => format!("another process{though}. {ONE_PROCESS}"),
            }
        }
    )]
    Held {
        /// The data folder.
        path: PathBuf,
        /// The holder's process id, if it is known.
        by: Option<u32>,
        /// Whether the lock file was removed while the ledger was open. Sled's own lock showed that
        /// it still is.
        lock_removed: bool,
    },

    /// The folder cannot be created or written.
    #[error(
        "`{}` cannot be written: {reason}. Check the path, its owner and its mode",
        path.display()
    )]
    NotWritable {
        /// The data folder.
        path: PathBuf,
        /// The system's message.
        reason: String,
    },

    /// The disk, or the quota, is full. Calls succeed again once space is free.
    #[error(
        "no room left for `{}`: {reason}. Nothing was recorded; free some space and call again",
        path.display()
    )]
    Full {
        /// The data folder.
        path: PathBuf,
        /// The system's message.
        reason: String,
    },

    /// The files lack writes that were acknowledged.
    #[error(
        "`{}` has lost acknowledged writes: it ends at group {found}, but group {acknowledged} was \
         answered. Restore the folder from a copy, or remove the file `{WITNESS}` to continue \
         without the {} missing groups, whose messages would run again",
        path.display(), acknowledged - found
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
    #[error(
        "`{}` is damaged: {detail}. Restore the folder from a copy, or remove the file `{WITNESS}` \
         to continue with the rest; messages whose records are missing would run again. If it is \
         refused then, too, nothing of it can be read: move it away, and start on an empty one",
        path.display()
    )]
    Damaged {
        /// The data folder.
        path: PathBuf,
        /// The damage that was found.
        detail: String,
    },

    /// The folder holds a ledger on another engine. Nothing was read or written.
    #[error(
        "`{}` holds a ledger on {}, not on {}: open it with that engine, or copy what is in it into another \
         folder with `idem migrate`",
        path.display(), engine, asked
    )]
    OtherEngine {
        /// The data folder.
        path: PathBuf,
        /// The engine of the ledger in it.
        engine: &'static str,
        /// The engine that it was opened with.
        asked: &'static str,
    },

    /// One of the ledger's files is not a regular file. It was neither read nor written.
    #[error(
        "`{}` is {found}, not a file of the ledger: nothing was read or written. Put the file \
         itself there, or restore the folder from a copy",
        file.display()
    )]
    OddFile {
        /// The path of the file.
        file: PathBuf,
        /// The kind of what stands there: a symbolic link, a FIFO, ….
        found: &'static str,
    },

    /// The storage engine panicked, or the system refused it a write or a sync for another reason
    /// than a full disk. Reading the data back no longer proves that it is stored, so the ledger
    /// answers nothing until the process restarts.
    #[error("the storage engine under `{}` failed: {detail}. Restart the process", path.display())]
    Poisoned {
        /// The data folder.
        path: PathBuf,
        /// The panic's message, or the system's.
        detail: String,
    },

    /// The folder was moved or deleted while it was open. The ledger answers nothing until the
    /// process restarts.
    #[error(
        "`{}` was moved or deleted while it was open, and another process may have opened a ledger \
         in its place: nothing more is acknowledged. Stop this process, put the folder back, and \
         start again",
        path.display()
    )]
    Moved {
        /// Where the data folder was.
        path: PathBuf,
    },

    /// The process is a fork of the one that opened the ledger, and does not have its threads.
    #[error(
        "this process was forked from process {opened_by}, which opened the ledger: nothing was \
         recorded. After the fork, open an Idem with a folder of its own"
    )]
    Forked {
        /// The process that opened it.
        opened_by: u32,
    },

    /// The system refused a read, or a write outside of the log. The next call opens the ledger
    /// again.
    #[error(
        "reading or writing `{}` failed: {reason}. Nothing was recorded; call again, and check the \
         disk if it fails again",
        path.display()
    )]
    Io {
        /// The data folder.
        path: PathBuf,
        /// The system's message.
        reason: String,
    },

    /// A copy was not made, and its files were removed. The ledger itself works on.
    #[error("no copy was made in `{}`: {reason}", path.display())]
    NotCopied {
        /// The copy's folder.
        path: PathBuf,
        /// The cause, and what to do.
        reason: String,
    },

    /// One stored record cannot be read. The others can.
    #[error("a stored record cannot be read: {detail}. Was it written by a newer version of idem?")]
    Record {
        /// The cause.
        detail: String,
    },

    /// A note's key is too long. Nothing was recorded.
    #[error(
        "the note's key that begins with `{key}` takes {length} bytes, and the limit is {limit}: \
         nothing was recorded. Write it under a shorter key"
    )]
    KeyTooLong {
        /// The beginning of the key.
        key: String,
        /// The key's length in bytes, including its number if it gets one.
        length: usize,
        /// The longest allowed key, in bytes.
        limit: usize,
    },

    /// The store could not be reached, or did not answer in time.
    #[error(fmt = unavailable)]
    Unavailable {
        /// What happened, in the store's words.
        message: String,
        /// Whether what was asked for may have been written all the same.
        maybe_written: bool,
        /// The store's error.
        source: Option<Arc<dyn StdError + Send + Sync>>,
    },

    /// The store refused what it was asked for, and would refuse it again. Nothing was recorded.
    #[error(fmt = refused)]
    Refused {
        /// What was refused and why, in the store's words, without a value of a payload.
        message: String,
        /// The store's error.
        source: Option<Arc<dyn StdError + Send + Sync>>,
    },

    /// The ledger cannot do this: its [capabilities](super::Ledger::capabilities) say so.
    #[error("this ledger has no {0}")]
    Unsupported(&'static str),

    /// The ledger was closed.
    #[error("the ledger was closed, and nothing was recorded. Open it again and call again")]
    Closed,

    /// Any other error, in the ledger's own words.
    #[error("{0}")]
    Other(String),
}

/// The error of a store's client or server.
type Source = Option<Arc<dyn StdError + Send + Sync>>;

fn unavailable(
    message: &str,
    _: &bool,
    source: &Source,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let what = format_args!(
        "the ledger cannot be reached: {message}. No body runs without it; calls succeed again once \
         it answers"
    );
    with_cause(f, what, cause(source))
}

fn refused(message: &str, source: &Source, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let what =
        format_args!("the ledger's store refused a request: {message}. Nothing was recorded");
    with_cause(f, what, cause(source))
}

pub(crate) fn cause(source: &Source) -> Option<&(dyn StdError + 'static)> {
    source.as_deref().map(|source| source as _)
}

/// What an error of a ledger means for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LedgerErrorKind {
    /// The ledger cannot be reached, read or written at the moment: the disk is full, the server is
    /// away.
    Unavailable,
    /// It answers nothing more before a person, or a restart, has mended it.
    Broken,
    /// One stored record cannot be read.
    Record,
    /// The request is wrong: the same request fails again.
    Request,
    /// It was closed.
    Closed,
    /// Not known.
    Other,
}

impl LedgerError {
    /// Returns what the error means for its caller.
    pub fn kind(&self) -> LedgerErrorKind {
        match self {
            Self::Full { .. } | Self::Io { .. } | Self::Unavailable { .. } => {
                LedgerErrorKind::Unavailable
            }
            Self::Held { .. }
            | Self::NotWritable { .. }
            | Self::Behind { .. }
            | Self::Damaged { .. }
            | Self::OddFile { .. }
            | Self::OtherEngine { .. }
            | Self::Poisoned { .. }
            | Self::Moved { .. }
            | Self::Forked { .. } => LedgerErrorKind::Broken,
            Self::Record { .. } => LedgerErrorKind::Record,
            Self::KeyTooLong { .. }
            | Self::NotCopied { .. }
            | Self::Refused { .. }
            | Self::Unsupported(_) => LedgerErrorKind::Request,
            Self::Closed => LedgerErrorKind::Closed,
            Self::Other(_) => LedgerErrorKind::Other,
        }
    }

    /// Returns whether the same request may succeed later, without anything being mended.
    pub fn may_retry(&self) -> bool {
        matches!(
            self.kind(),
            LedgerErrorKind::Unavailable | LedgerErrorKind::Other
        )
    }

    /// Returns whether what was asked for may have been written all the same.
    pub fn maybe_written(&self) -> bool {
        match self {
            Self::Unavailable { maybe_written, .. } => *maybe_written,
            Self::Other(_) => true,
            _ => false,
        }
    }

    /// Whether only a restart of the process helps.
    #[cfg(feature = "__folder")]
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Poisoned { .. } | Self::Moved { .. })
    }

    /// Converts an error of the system, by what a person can do about it.
    #[cfg(feature = "__folder")]
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
            // Of an engine's files: they end where they should not, or hold what they should not.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Self::Damaged {
                path,
                detail: reason,
            },
            _ => Self::Io { path, reason },
        }
    }
}

/// Returns the system's error in one that sled has cloned: a clone keeps the kind and the debug
/// text, and loses the number.
#[cfg(feature = "__folder")]
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

    /// An error as sled clones it.
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
