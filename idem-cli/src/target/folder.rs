//! A folder that no service holds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use idem_runtime::ledger::{Engine, LedgerError, StoppedLedger};
use idem_runtime::{Error, Idem};

use crate::args::Place;
use crate::out::note;
use crate::problem::Problem;

const ON_LOSS: &str = "restore the folder from a copy; or, to go on with what is left, remove the file `witness`: what is \
                       missing would run again. If it is refused then, too, nothing of it can be read: move it away, \
                       and start on an empty one";

/// The cache for reading or writing all of a folder once.
pub(crate) const CACHE: u64 = 64 << 20;

/// The reason why a folder is not opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// There is no ledger at this path.
    NoLedger { path: PathBuf, why: String },
    /// The folder belongs to another user: this one may not look into it, or is root.
    NotOurs {
        path: PathBuf,
        owner: u32,
        why: String,
    },
    /// There is no witness of what was acknowledged.
    NoWitness { path: PathBuf },
    /// The ledger refused.
    Ledger(LedgerError),
    /// The runtime refused.
    Other(Error),
}

/// Opens a ledger that exists. It never makes one: a mistyped path would look like an empty ledger.
pub(crate) fn open(path: &Path, place: &Place) -> Result<Idem, OpenError> {
    is_ledger(path)?;
    let (wait, seconds) = (Duration::from_secs(place.wait), place.wait);
    let builder = || Idem::builder().engine(Engine::of(path).unwrap_or_default());
    let error = match builder().open(path).map_err(OpenError::from) {
        Err(error) if error.held() && !wait.is_zero() => error,
        opened => return opened,
    };
    note(&format!(
        "idem: {}; waiting for up to {seconds} s",
        error.says().0
    ));
    Ok(builder().wait_for(wait).open(path)?)
}

/// Holds a ledger that exists, to read what is in it as it is.
pub(crate) fn stopped(path: &Path) -> Result<StoppedLedger, OpenError> {
    is_ledger(path)?;
    if !path.join("witness").exists() {
        let path = path.to_owned();
        return Err(OpenError::NoWitness { path });
    }
    StoppedLedger::open(path, CACHE).map_err(OpenError::Ledger)
}

/// Returns from where and when a folder was copied, if it is a copy.
pub(crate) fn copied(path: &Path) -> Option<String> {
    let mark = path.join("copied");
    // Nothing else is opened: a FIFO would keep the command waiting.
    let is_file = fs::symlink_metadata(&mark).is_ok_and(|found| found.is_file());
    let text = is_file.then(|| fs::read_to_string(mark).ok()).flatten()?;
    Some(text.trim_end().to_owned())
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        match error {
            Error::Ledger { source, .. } => Self::Ledger(source),
            other => Self::Other(other),
        }
    }
}

/// Checks that there is a ledger, and that files made by opening it stay its owner's.
fn is_ledger(path: &Path) -> Result<(), OpenError> {
    let none = |why: String| {
        Err(OpenError::NoLedger {
            path: path.to_owned(),
            why,
        })
    };
    let found = match fs::metadata(path) {
        Err(error) => return none(error.to_string()),
        Ok(found) if !found.is_dir() => return none("it is not a folder".to_owned()),
        Ok(found) => found,
    };
    let owner = found.uid();
    let not_ours = |why: String| {
        Err(OpenError::NotOurs {
            path: path.to_owned(),
            owner,
            why,
        })
    };
    let there = ["sled", "fjall", "witness"].map(|name| path.join(name).try_exists());
    if let Some(Err(error)) = there.iter().find(|there| there.is_err()) {
        return not_ours(format!("cannot be read by this one ({error})"));
    }
    if !there.iter().any(|there| matches!(there, Ok(true))) {
        return none("neither `sled`, `fjall` nor `witness` is in it".to_owned());
    }
    stays_theirs(path, &found)
}

/// Checks that files made in a folder stay its owner's.
pub(crate) fn stays_theirs(path: &Path, found: &fs::Metadata) -> Result<(), OpenError> {
    let owner = found.uid();
    if rustix::process::geteuid().is_root() && owner != 0 {
        return Err(OpenError::NotOurs {
            path: path.to_owned(),
            owner,
            why: "files that root makes in it would be closed to them".to_owned(),
        });
    }
    Ok(())
}

impl OpenError {
    /// Returns the problem, and its remedy.
    pub(crate) fn says(&self) -> (String, String) {
        let say = |what: String, fix: &str| (what, fix.to_owned());
        match self {
            Self::NoLedger { path, why } => say(
                format!("`{}` is not a ledger ({why})", path.display()),
                "give the folder that the service opens",
            ),
            Self::NotOurs { path, owner, why } => (
                format!("`{}` belongs to user {owner}, and {why}", path.display()),
                format!("run this as that user: `sudo -u '#{owner}' idem …`"),
            ),
            Self::NoWitness { path } => say(
                format!(
                    "the file `witness` of `{}` is missing, so it is not known whether the ledger is whole",
                    path.display()
                ),
                "restore the folder from a copy; or, when it was removed on purpose, start the service on it once",
            ),
            Self::Ledger(LedgerError::Held {
                path,
                by,
                lock_removed,
            }) => {
                let by = by.map_or_else(
                    || "another process".to_owned(),
                    |by| format!("process {by}"),
                );
                let though = if *lock_removed {
                    ", though the file `lock` in it was removed"
                } else {
                    ""
                };
                say(
                    format!("`{}` is held by {by}{though}", path.display()),
                    "ask the service that holds it with `--url`, or stop it first",
                )
            }
            Self::Ledger(LedgerError::Behind {
                path,
                found,
                acknowledged,
            }) => (
                format!(
                    "`{}` has lost acknowledged writes: it ends at group {found}, and group {acknowledged} was answered",
                    path.display()
                ),
                ON_LOSS.to_owned(),
            ),
            Self::Ledger(LedgerError::Damaged { path, detail }) => (
                format!("`{}` is damaged: {detail}", path.display()),
                ON_LOSS.to_owned(),
            ),
            Self::Ledger(LedgerError::NotWritable { path, reason }) => say(
                format!("`{}` cannot be written: {reason}", path.display()),
                "check the path, its owner and its mode",
            ),
            Self::Ledger(LedgerError::Full { path, reason }) => say(
                format!("the disk of `{}` is full: {reason}", path.display()),
                "free some space",
            ),
            Self::Ledger(LedgerError::OddFile { file, found }) => say(
                format!(
                    "`{}` is {found}, and a ledger has its own files there: nothing was read or written",
                    file.display()
                ),
                "put the file itself there, or restore the folder from a copy",
            ),
            Self::Ledger(LedgerError::OtherEngine {
                path,
                engine,
                asked,
            }) => say(
                format!(
                    "`{}` holds a ledger on {}, not on {}",
                    path.display(),
                    engine,
                    asked
                ),
                "leave `--engine` out, or name another folder",
            ),
            // What to do is its last part.
            Self::Ledger(LedgerError::Refused { message, .. })
                if let Some((what, fix)) = message.rsplit_once(": ") =>
            {
                say(what.to_owned(), fix)
            }
            Self::Ledger(error) => say(
                error.to_string(),
                "try again, and look at the disk if it stays",
            ),
            Self::Other(error) => say(format!("{error:#}"), "try again"),
        }
    }

    pub(crate) fn held(&self) -> bool {
        matches!(self, Self::Ledger(LedgerError::Held { .. }))
    }

    pub(crate) fn into_problem(self) -> Problem {
        let (what, fix) = self.says();
        let text = format!("{what}: {fix}");
        match self {
            _ if self.held() => Problem::unreachable(text),
            Self::NoLedger { .. } | Self::NotOurs { .. } => Problem::usage(text),
            Self::NoWitness { .. } | Self::Ledger(_) | Self::Other(_) => Problem::failed(text),
        }
    }
}
