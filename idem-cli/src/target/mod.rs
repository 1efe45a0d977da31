//! The API that a command asks: of a running service, or of a folder in this process.

mod api;
mod client;
mod folder;
mod network;

use std::path::PathBuf;
use std::time::Duration;

use idem_ops::service::{GroupPage, GroupQuery, LetterPage, LetterQuery};
use url::Url;

pub(crate) use client::Target;
pub(crate) use folder::{OpenError, open};

use crate::args::Place;
use crate::problem::Problem;
use crate::prompt;

/// The place that the arguments and the environment name.
#[derive(Debug)]
pub(crate) enum Location {
    Service(Url),
    Folder(PathBuf),
}

impl Location {
    /// Reads the arguments, then the environment.
    ///
    /// # Errors
    /// Exit code 2 where there are two, or none.
    pub(crate) fn new(place: &Place) -> Result<Self, Problem> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        match (&place.url, &place.data) {
            (Some(_), Some(_)) => Err(Problem::usage(
                "`--url` and `--data` are two places: give one of them",
            )),
            (Some(url), None) => Ok(Self::Service(url.clone())),
            (None, Some(data)) => Ok(Self::Folder(data.clone())),
            (None, None) => match (variable("IDEM_URL"), variable("IDEM_DATA")) {
                (Some(url), _) => match url.to_str().map(str::parse) {
                    Some(Ok(url)) => Ok(Self::Service(url)),
                    Some(Err(error)) => Err(Problem::usage(format!(
                        "IDEM_URL is not an address: {error}"
                    ))),
                    None => Err(Problem::usage("IDEM_URL is not an address")),
                },
                (None, Some(data)) => Ok(Self::Folder(data.into())),
                (None, None) => Err(Problem::usage(
                    "which ledger? Give `--url` of a running service, or `--data` of a folder that no process holds",
                )),
            },
        }
    }

    pub(crate) async fn target(self, place: &Place) -> Result<Target, Problem> {
        match self {
            Self::Service(url) => network::target(url, place),
            Self::Folder(path) => {
                let idem = open(&path).map_err(OpenError::into_problem)?;
                Target::in_process(idem, prompt::whoami(place.by.clone()))
            }
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
