//! The core that the ledgers of several machines share: what they have in common, over a [`Store`].

mod alone;
mod ask;
mod committer;
mod core;
mod guess;
mod job;
mod letters_in;
mod numbers;
mod own;
mod plan;
mod queue;
mod round;
mod runner;
#[cfg(feature = "__net")]
mod runtimes;
mod store;
mod sweep;
mod transaction;
mod unfinished;
mod waiters;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::alone::killed;
use self::core::Core;
use self::job::{Job, NotesJob};
use self::transaction::SharedTransaction;
use super::{
    Begun, Capabilities, Context, ExpectedNote, Filter, Leases, Ledger, LedgerError, Note,
    NoteChange, Swept, Transaction, check_keys,
};
use crate::clock::BoxFuture;
use crate::protocol::{Claim, DeadLetter, DeadLetterId, Foreseen, Record, RecordId, Reply, Step};

pub use letters_in::LettersIn;
#[doc(hidden)]
pub use plan::first_write;
#[cfg(feature = "__net")]
#[doc(hidden)]
pub use runtimes::drives_io;
pub use store::{
    LetterWrite, Owner, Row, Rows, Runner, Store, StoreError, StoreErrorKind, StoreTransaction,
    Write, Written,
};

/// How long after it was asked for a write may still take place, whatever became of its answer. A
/// store sees to it, with the timeouts of its server and its connections.
pub const LATEST: Duration = Duration::from_secs(30);

/// A ledger over a [`Store`] that several processes share.
///
/// Steps that are asked for while others are written go to the store together, in one trip. A step
/// that is asked for alone is made where its caller is. This
/// process is one runner of the store, whose heartbeat keeps all its claims alive; when it stops for
/// longer than the lease, other processes take them.
pub struct SharedLedger<S: Store> {
    core: Arc<Core<S>>,
}

impl<S: Store> SharedLedger<S> {
    /// Opens the ledger over a store: this process begins to beat. Its claims pass on `lease` after
    /// its last heartbeat.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] when the store does not answer, and [`LedgerError::Refused`] when
    /// a migration into it is not finished.
    pub async fn open(store: S, context: Context, lease: Duration) -> Result<Self, LedgerError> {
        let core = Arc::new(Core::new(store, context, lease));
        let ledger = Self {
            core: Arc::clone(&core),
        };
        core.begin_to_beat().await?;
        core.spawn(Arc::clone(&core).heartbeats());
        core.spawn(Arc::clone(&core).poll_for_waiters());
        core.spawn(Arc::clone(&core).pass_hints_on());
        core.context.background.spawn(committer::run(core.clone()));
        Ok(ledger)
    }

    /// Does something with the store on the background.
    fn run<T: Send + 'static, F>(
        &self,
        work: impl FnOnce(Arc<Core<S>>) -> F,
    ) -> BoxFuture<'static, Result<T, LedgerError>>
    where
        F: Future<Output = Result<T, LedgerError>> + Send + 'static,
    {
        let done = self.core.context.background.run(work(self.core.clone()));
        Box::pin(async move { done.await? })
    }

    /// Reads from the store on the background.
    fn read<T: Send + 'static, F>(
        &self,
        read: impl Fn(Arc<Core<S>>) -> F + Send + Sync + 'static,
    ) -> BoxFuture<'static, Result<T, LedgerError>>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.run(async move |core| {
            let answer = core.ask_again(|| read(Arc::clone(&core))).await;
            answer.map_err(StoreError::of_a_read)
        })
    }
}

impl<S: Store> Ledger for SharedLedger<S> {
    fn capabilities(&self) -> Capabilities {
        let leases = match self.core.store.has_one_process() {
            true => Leases::None,
            false => Leases::PerProcess,
        };
        Capabilities::new()
            .leases(leases)
            .transactions(self.core.store.has_transactions())
    }

    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Result<Reply, LedgerError>> {
        Box::pin(Arc::clone(&self.core).step(id.clone(), step))
    }

    fn changed(&self, id: &RecordId) -> Option<BoxFuture<'static, ()>> {
        let changed = self.core.waiters.wait(id);
        self.core.store.watch(id);
        Some(changed)
    }

    fn begin(&self) -> BoxFuture<'static, Result<Box<dyn Transaction>, LedgerError>> {
        if !self.core.store.has_transactions() {
            let unsupported = LedgerError::Unsupported("transactions");
            return Box::pin(std::future::ready(Err(unsupported)));
        }
        let core = Arc::clone(&self.core);
        self.core.here(async move {
            let begun = SharedTransaction::begin(core).await?;
            Ok(Box::new(begun) as Box<dyn Transaction>)
        })
    }

    fn foresee(
        &self,
        id: &RecordId,
        claim: Claim,
    ) -> BoxFuture<'static, Result<(Foreseen, Begun), LedgerError>> {
        if !self.core.store.has_transactions() {
            let unsupported = LedgerError::Unsupported("transactions");
            return Box::pin(std::future::ready(Err(unsupported)));
        }
        let (core, id) = (Arc::clone(&self.core), id.clone());
        // A transaction stays on the runtime that it was begun on.
        let begins = core.is_asked_here();
        self.core.here(async move {
            let foresee = || transaction::foresee(&core, &id, claim.clone(), begins);
            core.ask_again(foresee).await.map_err(StoreError::of_a_read)
        })
    }

    fn record(&self, id: &RecordId) -> BoxFuture<'static, Result<Option<Record>, LedgerError>> {
        let id = id.clone();
        let read = self.read(move |core| {
            let id = id.clone();
            async move { core.store.read(vec![id]).await }
        });
        Box::pin(async move {
            let row = read.await?.rows.pop().unwrap_or(Ok(None))?;
            Ok(row.and_then(|row| row.record))
        })
    }

    fn letter(
        &self,
        id: DeadLetterId,
    ) -> BoxFuture<'static, Result<Option<DeadLetter>, LedgerError>> {
        self.read(move |core| async move { core.store.letter(id).await })
    }

    fn letters(&self, filter: &Filter) -> BoxFuture<'static, Result<Vec<DeadLetter>, LedgerError>> {
        let filter = filter.clone();
        self.read(move |core| {
            let filter = filter.clone();
            async move { core.store.letters(filter).await }
        })
    }

    fn open_letters(&self) -> BoxFuture<'static, Result<u64, LedgerError>> {
        self.read(|core| async move { core.store.open_letters().await })
    }

    fn sweep(
        &self,
        settled: usize,
        retention: Duration,
    ) -> BoxFuture<'static, Result<Swept, LedgerError>> {
        self.run(move |core| core.sweep(settled, retention))
    }

    fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Note>, LedgerError>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.read(move |core| {
            let (prefix, after) = (prefix.clone(), after.clone());
            async move { core.store.notes(prefix, after, limit).await }
        })
    }

    fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> BoxFuture<'static, Result<bool, LedgerError>> {
        let core = Arc::clone(&self.core);
        Box::pin(async move {
            check_keys(&changes)?;
            let (done, answer) = oneshot::channel();
            core.queue.push(Job::Notes(NotesJob {
                changes,
                expected,
                since: core.clock().now(),
                done,
            }));
            answer.await.unwrap_or_else(|_| Err(killed()))
        })
    }

    fn size(&self) -> BoxFuture<'static, Result<Option<u64>, LedgerError>> {
        self.read(|core| async move { core.store.size().await })
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LedgerError>> {
        self.core.queue.close();
        let mut ended = self.core.ended.subscribe();
        Box::pin(async move {
            // What could not be written was answered with an error.
            let _ = ended.wait_for(|ended| *ended).await;
            Ok(())
        })
    }
}

impl<S: Store> Drop for SharedLedger<S> {
    fn drop(&mut self) {
        self.core.queue.close();
    }
}
