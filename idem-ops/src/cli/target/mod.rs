//! What is asked: a running service, or a folder. Commands do not know which.

mod folder;
mod remote;

use std::path::PathBuf;
use std::time::Duration;

use idem_runtime::{DeadLetterId, clock::BoxFuture, json::Json};
use uuid::Uuid;

pub(crate) use folder::{Folder, Refused};
pub(crate) use remote::Remote;

use super::args::Place;
use super::ask;
use super::problem::Problem;
use crate::monitor::AlertState;
use crate::service::{
    Bulk, BulkPage, GroupPage, GroupQuery, LetterPage, LetterQuery, LetterView, NewBulk, PageQuery,
    Redriven, Stats, Story,
};

/// An answer, or why there is none.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, Problem>>;

/// Everything the command asks for, of a service or of a folder.
pub(crate) trait Target {
    /// Whether letters can be run here: a folder has no handlers.
    fn runs(&self) -> bool;
    fn letters<'a>(&'a self, query: &'a LetterQuery) -> Answer<'a, LetterPage>;
    fn letter(&self, id: DeadLetterId) -> Answer<'_, LetterView>;
    fn groups<'a>(&'a self, query: &'a GroupQuery) -> Answer<'a, GroupPage>;
    fn explain<'a>(&'a self, handler: &'a str, key: &'a str) -> Answer<'a, Story>;
    fn stats(&self) -> Answer<'_, Stats>;
    /// How telling people goes.
    fn alerts(&self) -> Answer<'_, AlertState>;
    fn redrive<'a>(&'a self, id: DeadLetterId, run: bool, why: &'a str) -> Answer<'a, Redriven>;
    /// Runs a letter with this payload, of which redacted parts are not stored.
    fn run_with<'a>(
        &'a self,
        id: DeadLetterId,
        payload: Json,
        why: &'a str,
    ) -> Answer<'a, Redriven>;
    /// Publishes a letter's message back to its broker.
    fn publish<'a>(&'a self, id: DeadLetterId, why: &'a str) -> Answer<'a, Redriven>;
    fn edit<'a>(&'a self, id: DeadLetterId, payload: Json, why: &'a str) -> Answer<'a, LetterView>;
    fn discard<'a>(&'a self, id: DeadLetterId, why: &'a str) -> Answer<'a, LetterView>;
    fn restore<'a>(&'a self, id: DeadLetterId, why: &'a str) -> Answer<'a, LetterView>;
    fn start_bulk(&self, asked: NewBulk) -> Answer<'_, Bulk>;
    fn bulks<'a>(&'a self, query: &'a PageQuery) -> Answer<'a, BulkPage>;
    fn bulk(&self, id: Uuid) -> Answer<'_, Bulk>;
    fn cancel_bulk<'a>(&'a self, id: Uuid, why: Option<&'a str>) -> Answer<'a, Bulk>;
    /// Ends the asking: a folder is given back, with everything written.
    fn close(&self) -> Answer<'_, ()>;
}

/// Where the arguments and the environment say to ask.
#[derive(Debug)]
pub(crate) enum Where {
    Service(url::Url),
    Folder(PathBuf),
}

impl Where {
    /// The arguments first, then the environment.
    ///
    /// # Errors
    /// Exit code 2 where there are two, or none.
    pub(crate) fn of(place: &Place) -> Result<Self, Problem> {
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
                    Some(Err(error)) => {
                        Err(Problem::usage(format!("IDEM_URL is no address: {error}")))
                    }
                    None => Err(Problem::usage("IDEM_URL is no address")),
                },
                (None, Some(data)) => Ok(Self::Folder(data.into())),
                (None, None) => Err(Problem::usage(
                    "which ledger? Give `--url` of a running service, or `--data` of a folder that none holds",
                )),
            },
        }
    }

    pub(crate) async fn open(self, place: &Place) -> Result<Box<dyn Target>, Problem> {
        match self {
            Self::Service(url) => Ok(Box::new(Remote::new(url, place)?)),
            Self::Folder(path) => {
                let folder = Folder::open(&path, ask::whoami(place.by.clone()))
                    .await
                    .map_err(Refused::into_problem)?;
                Ok(Box::new(folder))
            }
        }
    }
}

/// How soon to ask again.
const SOON: Duration = Duration::from_millis(20);

/// A page as the letters are, and not as far as a service that has just started has read them: that
/// ends with its first walk, however many there are.
pub(crate) async fn whole_page(
    target: &dyn Target,
    query: &LetterQuery,
) -> Result<LetterPage, Problem> {
    loop {
        let page = target.letters(query).await?;
        if page.complete {
            return Ok(page);
        }
        tokio::time::sleep(SOON).await;
    }
}

/// The groups in the same way.
pub(crate) async fn whole_groups(
    target: &dyn Target,
    query: &GroupQuery,
) -> Result<GroupPage, Problem> {
    loop {
        let page = target.groups(query).await?;
        if page.complete {
            return Ok(page);
        }
        tokio::time::sleep(SOON).await;
    }
}
