//! The API that a command asks: of a running service, or in this process, of a folder or a shared ledger.

mod api;
mod client;
mod folder;
pub(crate) mod network;
mod shared;

use std::path::PathBuf;
use std::time::Duration;

use idem_ops::service::{GroupPage, GroupQuery, LetterPage, LetterQuery};
use idem_runtime::Idem;
use url::Url;

pub(crate) use client::Target;
pub(crate) use folder::{CACHE, OpenError, copied, open, stays_theirs, stopped};
pub(crate) use shared::{LedgerPlace, LedgerUrl, Server};

use crate::args::Place;
use crate::problem::Problem;
use crate::prompt;

/// The place that the arguments and the environment name.
#[derive(Debug)]
pub(crate) enum Location {
    Service(Url),
    Folder(PathBuf),
    Shared(LedgerUrl),
}

impl Location {
    /// Reads the arguments, then the environment.
    ///
    /// # Errors
    /// Exit code 2 where there are two, or none.
    pub(crate) fn new(place: &Place) -> Result<Self, Problem> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        match (&place.url, &place.data, &place.ledger) {
            (Some(url), None, None) => return Ok(Self::Service(url.clone())),
            (None, Some(data), None) => return Ok(Self::Folder(data.clone())),
            (None, None, Some(url)) => return Ok(Self::Shared(url.clone())),
            (None, None, None) => {}
            _ => {
                return Err(Problem::usage(
                    "`--url`, `--data` and `--ledger` are different places: give one of them",
                ));
            }
        }
        if let Some(url) = variable("IDEM_URL") {
            match url.to_str().map(str::parse) {
                Some(Ok(url)) => Ok(Self::Service(url)),
                Some(Err(error)) => Err(Problem::usage(format!(
                    "IDEM_URL is not an address: {error}"
                ))),
                None => Err(Problem::usage("IDEM_URL is not an address")),
            }
        } else if let Some(data) = variable("IDEM_DATA") {
            Ok(Self::Folder(data.into()))
        } else if let Some(url) = LedgerUrl::from_env()? {
            Ok(Self::Shared(url))
        } else {
            Err(Problem::usage(
                "which ledger? Give `--url` of a running service, `--data` of a folder that no process holds, or \
                 `--ledger` that services share",
            ))
        }
    }

    pub(crate) async fn target(self, place: &Place) -> Result<Target, Problem> {
        let idem = match self {
            Self::Service(url) => return network::target(url, place),
            here => here.open(place).await?,
        };
        Target::in_process(idem, prompt::whoami(place.by.clone()))
    }

    /// Opens the ledger in this process.
    ///
    /// # Errors
    /// Exit code 2 for a service, which has opened its own.
    pub(crate) async fn open(self, place: &Place) -> Result<Idem, Problem> {
        match self {
            Self::Folder(path) => open(&path, place).map_err(OpenError::into_problem),
            Self::Shared(url) => url.open(&place.schema).await,
            Self::Service(_) => Err(Problem::usage(
                "a service has its ledger open itself; give `--data` or `--ledger`",
            )),
        }
    }
}

/// The pause before a page is asked for again.
const PAUSE: Duration = Duration::from_millis(20);

/// Returns a page once the service has read all letters, which it does after its start.
pub(crate) async fn whole_page(
    target: &Target,
    query: &LetterQuery,
) -> Result<LetterPage, Problem> {
    loop {
        let page = target.letters(query).await?;
        if page.complete {
            return Ok(page);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the groups once the service has read all letters.
pub(crate) async fn whole_groups(
    target: &Target,
    query: &GroupQuery,
) -> Result<GroupPage, Problem> {
    loop {
        let page = target.groups(query).await?;
        if page.complete {
            return Ok(page);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
