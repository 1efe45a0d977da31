//! A folder that no service holds, opened with the same `Service` that a running one uses.

use std::fs;
use std::path::{Path, PathBuf};

use idem_runtime::{DeadLetterId, Error, Idem, json::Json, ledger::LedgerError};
use uuid::Uuid;

use super::{Answer, Target};
use crate::cli::problem::Problem;
use crate::monitor::AlertState;
use crate::service::{
    Acting, Bulk, BulkPage, GroupPage, GroupQuery, LetterPage, LetterQuery, LetterView, NewBulk,
    PageQuery, Redriven, Service, ServiceError, Stats, StatsQuery, Story,
};

const ON_LOSS: &str = "restore the folder from a copy; or, to go on with what is left, remove the file `witness`: what is \
                       missing would run again";

/// An open folder.
pub(crate) struct Folder {
    idem: Idem,
    service: Service,
    who: String,
}

/// Why a folder is not opened.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is no ledger at this path.
    NoLedger { path: PathBuf, why: String },
    /// It belongs to another user than root, who asks.
    NotOurs { path: PathBuf, owner: u32 },
    /// The ledger's own words.
    Ledger(LedgerError),
    /// Something else of the runtime's.
    Other(Error),
}

impl Folder {
    /// Opens it. A ledger is never made here: a path with a slip of the pen would look like an
    /// empty ledger.
    pub(crate) async fn open(path: &Path, who: Option<String>) -> Result<Self, Refused> {
        is_ledger(path)?;
        let idem = Idem::open(path)?;
        // What a service was stopped in may need its handlers, and none is here.
        Ok(Self {
            service: Service::looking(idem.clone()),
            idem,
            who: who.unwrap_or_else(|| "somebody".to_owned()),
        })
    }

    pub(crate) fn idem(&self) -> &Idem {
        &self.idem
    }

    fn acting(&self) -> Acting {
        self.service.by(&self.who)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        match error {
            Error::Ledger { problem, .. } => Self::Ledger(problem),
            other => Self::Other(other),
        }
    }
}

/// Whether there is a ledger to open, and one that opening leaves to its owner.
fn is_ledger(path: &Path) -> Result<(), Refused> {
    let none = |why: String| {
        Err(Refused::NoLedger {
            path: path.to_owned(),
            why,
        })
    };
    let found = match fs::metadata(path) {
        Err(error) => return none(error.to_string()),
        Ok(found) if !found.is_dir() => return none("it is no folder".to_owned()),
        Ok(found) => found,
    };
    if !["sled", "witness"]
        .into_iter()
        .any(|name| path.join(name).exists())
    {
        return none("neither `sled` nor `witness` is in it".to_owned());
    }
    let owner = std::os::unix::fs::MetadataExt::uid(&found);
    if rustix::process::geteuid().is_root() && owner != 0 {
        return Err(Refused::NotOurs {
            path: path.to_owned(),
            owner,
        });
    }
    Ok(())
}

impl Refused {
    /// What is wrong, and what to do.
    pub(crate) fn says(&self) -> (String, String) {
        let say = |what: String, fix: &str| (what, fix.to_owned());
        match self {
            Self::NoLedger { path, why } => say(
                format!("`{}` is no ledger ({why})", path.display()),
                "give the folder that the service opens",
            ),
            Self::NotOurs { path, owner } => (
                format!(
                    "`{}` belongs to user {owner}, and files that root makes in it would be closed to them",
                    path.display()
                ),
                format!("run this as that user: `sudo -u '#{owner}' idem …`"),
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
                format!("there is no room left for `{}`: {reason}", path.display()),
                "free some space",
            ),
            Self::Ledger(LedgerError::OddFile { file, found }) => say(
                format!(
                    "`{}` is {found}, and a ledger has its own files there: nothing was read or written",
                    file.display()
                ),
                "put the file itself there, or restore the folder from a copy",
            ),
            Self::Ledger(error) => say(
                error.to_string(),
                "try again, and look at the disk if it stays",
            ),
            Self::Other(error) => say(error.to_string(), "try again"),
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
            Self::Ledger(_) | Self::Other(_) => Problem::failed(text),
        }
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        Self::failed(error.to_string())
    }
}

impl Target for Folder {
    fn runs(&self) -> bool {
        false
    }

    fn letters<'a>(&'a self, query: &'a LetterQuery) -> Answer<'a, LetterPage> {
        Box::pin(async { Ok(self.service.letters(query).await?) })
    }

    fn letter(&self, id: DeadLetterId) -> Answer<'_, LetterView> {
        Box::pin(async move { Ok(self.service.letter(&id).await?) })
    }

    fn groups<'a>(&'a self, query: &'a GroupQuery) -> Answer<'a, GroupPage> {
        Box::pin(async { Ok(self.service.groups(query).await?) })
    }

    fn explain<'a>(&'a self, handler: &'a str, key: &'a str) -> Answer<'a, Story> {
        Box::pin(async { Ok(self.service.explain(handler, key).await?) })
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(async { Ok(self.service.stats(&StatsQuery::default()).await?) })
    }

    fn alerts(&self) -> Answer<'_, AlertState> {
        Box::pin(async { Ok(self.service.alerts().await?) })
    }

    fn redrive<'a>(&'a self, id: DeadLetterId, run: bool, why: &'a str) -> Answer<'a, Redriven> {
        Box::pin(async move { Ok(self.acting().redrive(&id, run, why).await?) })
    }

    fn run_with<'a>(
        &'a self,
        id: DeadLetterId,
        payload: Json,
        why: &'a str,
    ) -> Answer<'a, Redriven> {
        Box::pin(async move { Ok(self.acting().run_with(&id, payload, why).await?) })
    }

    fn publish<'a>(&'a self, id: DeadLetterId, why: &'a str) -> Answer<'a, Redriven> {
        Box::pin(async move { Ok(self.acting().republish(&id, why).await?) })
    }

    fn edit<'a>(&'a self, id: DeadLetterId, payload: Json, why: &'a str) -> Answer<'a, LetterView> {
        Box::pin(async move { Ok(self.acting().edit(&id, payload, why).await?) })
    }

    fn discard<'a>(&'a self, id: DeadLetterId, why: &'a str) -> Answer<'a, LetterView> {
        Box::pin(async move { Ok(self.acting().discard(&id, why).await?) })
    }

    fn restore<'a>(&'a self, id: DeadLetterId, why: &'a str) -> Answer<'a, LetterView> {
        Box::pin(async move { Ok(self.acting().restore(&id, why).await?) })
    }

    fn start_bulk(&self, asked: NewBulk) -> Answer<'_, Bulk> {
        Box::pin(async { Ok(self.acting().start_bulk(asked).await?) })
    }

    fn bulks<'a>(&'a self, query: &'a PageQuery) -> Answer<'a, BulkPage> {
        Box::pin(async { Ok(self.service.bulks(query).await?) })
    }

    fn bulk(&self, id: Uuid) -> Answer<'_, Bulk> {
        Box::pin(async move { Ok(self.service.bulk(id).await?) })
    }

    fn cancel_bulk<'a>(&'a self, id: Uuid, why: Option<&'a str>) -> Answer<'a, Bulk> {
        Box::pin(async move { Ok(self.acting().cancel_bulk(id, why).await?) })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.idem
                .close()
                .await
                .map_err(|error| Problem::failed(error.to_string()))
        })
    }
}
