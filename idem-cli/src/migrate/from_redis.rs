//! A ledger on Redis as the source. Nothing can hold it, so what a process did meanwhile is found.

use std::collections::HashSet;
use std::future;
use std::hash::{BuildHasher, RandomState};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use idem_redis::health::LedgerHealth;
use idem_redis::{Redis, RedisStore};
use idem_runtime::ledger::shared::Store;
use idem_runtime::ledger::{Filter, Note, StoppedRecord};
use idem_runtime::protocol::{DeadLetter, RecordId};

use super::source::{Items, PAGE, Stopped, unless_unreadable};
use crate::problem::Problem;
use crate::target::LedgerUrl;

/// A ledger on Redis that no process uses.
pub(super) struct StoppedRedis {
    url: LedgerUrl,
    settings: Redis,
    store: RedisStore,
    /// As it was when it was opened.
    was: LedgerHealth,
}

impl StoppedRedis {
    /// Opens it. Nothing is written to it.
    ///
    /// # Errors
    /// Exit code 3 when it cannot be reached, and 1 when there is none or a process uses it.
    pub(super) async fn open(url: LedgerUrl, settings: Redis) -> Result<Self, Problem> {
        let settings = url.allowed(settings).await?;
        let was = look(&url, &settings).await?;
        super::in_use(&was.living, &url)?;
        if was.unfinished_migration {
            return Err(url.refused(
                "a migration into it is not finished: run that one once more, until it says that all is there",
            ));
        }
        let store = settings.clone().store().await;
        let store = store.map_err(|error| url.problem(&error))?;
        Ok(Self {
            url,
            settings,
            store,
            was,
        })
    }

    pub(super) async fn close(&self) {
        self.store.close().await;
    }
}

impl Stopped for StoppedRedis {
    fn name(&self) -> String {
        self.was.id.clone()
    }

    fn last_write(&self) -> u64 {
        self.was.changes
    }

    fn last_number(&self) -> u64 {
        self.was.last_number
    }

    /// `SCAN` may return a row twice, and its hash is kept: the whole key would take more memory.
    fn records(&self) -> Items<'_, StoppedRecord> {
        let hashers = [RandomState::new(), RandomState::new()];
        let mut seen = HashSet::new();
        let mut is_new =
            move |id: &RecordId| seen.insert(hashers.each_ref().map(|hasher| hasher.hash_one(id)));
        let pages = stream::try_unfold(Some(0), move |from| async move {
            let Some(from) = from else {
                return Ok::<_, Problem>(None);
            };
            let page = self.store.records(from).await;
            let page = page.map_err(|error| self.url.problem(&error))?;
            let records = page
                .records
                .into_iter()
                .map(|read| unless_unreadable(read, |error| self.url.refused(&error.to_string())));
            Ok(Some((stream::iter(records), page.next)))
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
        let now = look(&self.url, &self.settings).await?;
        if (&now.id, now.changes) == (&self.was.id, self.was.changes) {
            return Ok(());
        }
        Err(Problem::failed(format!(
            "a process has used `{}` while it was copied: stop its services, empty the target, and begin again",
            self.url
        )))
    }
}

async fn look(url: &LedgerUrl, settings: &Redis) -> Result<LedgerHealth, Problem> {
    let health = settings.health().await;
    let ledger = health.map_err(|error| url.problem(&error))?.ledger;
    ledger
        .ok_or_else(|| url.refused("there is no ledger of this name: give it with `--from-schema`"))
}
