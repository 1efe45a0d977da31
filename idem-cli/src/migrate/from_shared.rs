//! A server's ledger as the source. Nothing can hold it, so what a process did meanwhile is found.

use std::collections::HashSet;
use std::future;
use std::hash::{BuildHasher, RandomState};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use idem_runtime::ledger::shared::{Store, StoreError};
use idem_runtime::ledger::{Filter, LedgerError, Note, StoppedRecord};
use idem_runtime::protocol::{DeadLetter, Record, RecordId};

use super::source::{Items, PAGE, Stopped, unless_unreadable};
use crate::problem::Problem;
use crate::target::LedgerUrl;

/// The server of a source.
pub(super) trait SourceServer {
    type Store: Store;
    /// Where a page of records begins.
    type Place;

    /// Whether a record may come twice.
    const REPEATS: bool;

    /// Looks at the ledger, if there is one.
    async fn look(&self) -> Result<Option<Look>, StoreError>;

    async fn open(&self) -> Result<Self::Store, StoreError>;

    /// Returns a page of the records: the first, or the one that begins there.
    async fn page(
        store: &Self::Store,
        from: Option<Self::Place>,
    ) -> Result<Page<Self::Place>, StoreError>;

    /// Returns the last number that the ledger gave out.
    async fn last_number(store: &Self::Store, look: &Look) -> Result<u64, StoreError> {
        let _ = store;
        Ok(look.last_number)
    }
}

/// Some of the records, and where the next ones begin.
pub(super) type Page<P> = (Vec<Result<(RecordId, Record), LedgerError>>, Option<P>);

/// A ledger at one moment.
pub(super) struct Look {
    pub(super) id: String,
    /// Another number once a process has used it.
    pub(super) changes: u64,
    pub(super) last_number: u64,
    /// The processes that beat.
    pub(super) living: Vec<String>,
    pub(super) unfinished_migration: bool,
}

/// A server's ledger that no process uses.
pub(super) struct StoppedServer<D: SourceServer> {
    url: LedgerUrl,
    server: D,
    store: D::Store,
    /// As it was when it was opened.
    was: Look,
}

impl<D: SourceServer> StoppedServer<D> {
    /// Opens it. Nothing is written to it.
    ///
    /// # Errors
    /// Exit code 3 when it cannot be reached, and 1 when there is none or a process uses it.
    pub(super) async fn open(url: LedgerUrl, server: D) -> Result<Self, Problem> {
        let mut was = look(&url, &server).await?;
        super::in_use(&was.living, &url)?;
        if was.unfinished_migration {
            return Err(url.refused(super::IS_UNFINISHED));
        }
        let opening = async {
            let store = server.open().await?;
            was.last_number = D::last_number(&store, &was).await?;
            Ok(store)
        };
        let store = opening.await.map_err(|error| url.problem(&error))?;
        Ok(Self {
            url,
            server,
            store,
            was,
        })
    }

    pub(super) async fn close(&self) {
        self.store.close().await;
    }
}

impl<D: SourceServer> Stopped for StoppedServer<D> {
    fn name(&self) -> String {
        self.was.id.clone()
    }

    fn last_write(&self) -> u64 {
        self.was.changes
    }

    fn last_number(&self) -> u64 {
        self.was.last_number
    }

    /// Of what may come twice the hash is kept: the whole key would take more memory.
    fn records(&self) -> Items<'_, StoppedRecord> {
        let hashers = [RandomState::new(), RandomState::new()];
        let mut seen = HashSet::new();
        let mut is_new = move |id: &RecordId| {
            let hash = || hashers.each_ref().map(|hasher| hasher.hash_one(id));
            !D::REPEATS || seen.insert(hash())
        };
        let pages = stream::try_unfold(Some(None), move |from| async move {
            let Some(from) = from else {
                return Ok::<_, Problem>(None);
            };
            let page = D::page(&self.store, from).await;
            let (records, next) = page.map_err(|error| self.url.problem(&error))?;
            let records = records
                .into_iter()
                .map(|read| unless_unreadable(read, |error| self.url.refused(&error.to_string())));
            Ok(Some((stream::iter(records), next.map(Some))))
        });
        let records = pages.try_flatten().try_filter_map(move |read| {
            let read = match read {
                Ok((id, _)) if !is_new(&id) => None,
                read => Some(read.map(|(id, record)| (Some(id), record))),
            };
            future::ready(Ok(read))
        });
        records.boxed_local()
    }

    fn letters(&self) -> Items<'_, DeadLetter> {
        let pages = stream::try_unfold(None, move |after| async move {
            let filter = Filter::default().any_state().limit(PAGE);
            let filter = match after {
                Some(after) => filter.after(after),
                None => filter,
            };
            let letters = self.store.letters(filter).await;
            let letters = letters.map_err(|error| self.url.problem(&error))?;
            let last = letters.last().map(|letter| letter.id);
            let letters = stream::iter(letters.into_iter().map(|letter| Ok(Ok(letter))));
            Ok::<_, Problem>(last.map(|last| (letters, Some(last))))
        });
        pages.try_flatten().boxed_local()
    }

    async fn notes(&self, after: Option<&str>, limit: usize) -> Result<Vec<Note>, Problem> {
        let notes = self
            .store
            .notes(String::new(), after.map(str::to_owned), limit);
        notes.await.map_err(|error| self.url.problem(&error))
    }

    async fn check_unused(&self) -> Result<(), Problem> {
        let now = look(&self.url, &self.server).await?;
        if (&now.id, now.changes) == (&self.was.id, self.was.changes) {
            return Ok(());
        }
        Err(Problem::failed(format!(
            "a process has used `{}` while it was copied: stop its services, empty the target, and begin again",
            self.url
        )))
    }
}

async fn look(url: &LedgerUrl, server: &impl SourceServer) -> Result<Look, Problem> {
    let look = server.look().await.map_err(|error| url.problem(&error))?;
    look.ok_or_else(|| url.refused("there is no ledger of this name: give it with `--from-schema`"))
}
