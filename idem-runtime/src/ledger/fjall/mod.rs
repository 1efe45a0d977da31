//! The embedded ledger on fjall: one folder, one process. It is the [core of shared
//! ledgers](super::shared) over a store that one process has alone.
//!
//! Duplicates of settled messages are answered by the caller's own thread; everything else goes through
//! one writer.

mod copy;
mod db;
mod group;
mod journal;
mod list;
mod opening;
mod owned;
mod rows;
mod shared;
mod stopped;
mod store;
mod writer;

use std::path::Path;
use std::time::Duration;

use super::shared::SharedLedger;
use super::{
    Capabilities, Context, ExpectedNote, Filter, Ledger, LedgerError, Note, NoteChange, Swept,
};
use crate::clock::BoxFuture;
use crate::protocol::{
    Change, Claim, DeadLetter, DeadLetterId, Facts, Record, RecordId, Reply, Step, decide_claim,
};

pub(super) use stopped::StoppedFjall;
pub use store::FjallStore;

/// The lease of the one process, which nothing waits for: it is longer than any process lives.
const LEASE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The embedded ledger on fjall, for [`IdemBuilder::engine`](crate::IdemBuilder::engine).
pub struct FjallLedger {
    steps: SharedLedger<FjallStore>,
    store: FjallStore,
    context: Context,
}

impl FjallLedger {
    /// Opens the ledger over a store, of which no other ledger has a handle.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when a migration into it is not finished.
    pub async fn open(store: FjallStore, context: Context) -> Result<Self, LedgerError> {
        let steps = SharedLedger::open(store.clone(), context.clone(), LEASE).await;
        Ok(Self {
            steps: steps.map_err(in_own_words)?,
            store,
            context,
        })
    }
}

/// Returns the store's own error, which the shared ledger has wrapped. If something may have been written
/// all the same, it is not that error alone.
fn in_own_words(error: LedgerError) -> LedgerError {
    match &error {
        LedgerError::Unavailable {
            maybe_written: false,
            source: Some(source),
            ..
        }
        | LedgerError::Refused {
            source: Some(source),
            ..
        } => source
            .downcast_ref::<LedgerError>()
            .unwrap_or(&error)
            .clone(),
        _ => error,
    }
}

/// Puts the answer of the shared ledger in the words of this one.
fn told<T: 'static>(
    answer: BoxFuture<'static, Result<T, LedgerError>>,
) -> BoxFuture<'static, Result<T, LedgerError>> {
    Box::pin(async move { answer.await.map_err(in_own_words) })
}

impl FjallLedger {
    /// Asks the shared ledger, unless this is a fork, which has no thread that would answer.
    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&SharedLedger<FjallStore>) -> BoxFuture<'static, Result<T, LedgerError>>,
    ) -> BoxFuture<'static, Result<T, LedgerError>> {
        match self.store.shared().is_here() {
            Ok(()) => told(ask(&self.steps)),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl Ledger for FjallLedger {
    fn capabilities(&self) -> Capabilities {
        self.steps.capabilities()
    }

    fn apply(&self, id: &RecordId, step: Step) -> BoxFuture<'static, Result<Reply, LedgerError>> {
        self.ask(|steps| steps.apply(id, step))
    }

    fn look(&self, id: &RecordId, claim: &Claim) -> Option<Reply> {
        // Its own process has no need to be checked: a fork has the same rows.
        let settled = self.store.settled(id).ok()??;
        let facts = Facts::new(
            self.context.clock.now(),
            0,
            DeadLetterId::from_bytes([0; 16]),
            self.context.instance.clone(),
        );
        let decision = decide_claim(id, Some(Record::Settled(settled)), claim, &facts);
        (decision.record == Change::Keep).then_some(decision.reply)
    }

    fn changed(&self, id: &RecordId) -> Option<BoxFuture<'static, ()>> {
        self.steps.changed(id)
    }

    fn record(&self, id: &RecordId) -> BoxFuture<'static, Result<Option<Record>, LedgerError>> {
        self.ask(|steps| steps.record(id))
    }

    fn letter(
        &self,
        id: DeadLetterId,
    ) -> BoxFuture<'static, Result<Option<DeadLetter>, LedgerError>> {
        self.ask(|steps| steps.letter(id))
    }

    fn letters(&self, filter: &Filter) -> BoxFuture<'static, Result<Vec<DeadLetter>, LedgerError>> {
        self.ask(|steps| steps.letters(filter))
    }

    fn open_letters(&self) -> BoxFuture<'static, Result<u64, LedgerError>> {
        self.ask(Ledger::open_letters)
    }

    fn sweep(
        &self,
        settled: usize,
        retention: Duration,
    ) -> BoxFuture<'static, Result<Swept, LedgerError>> {
        self.ask(|steps| steps.sweep(settled, retention))
    }

    fn notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Note>, LedgerError>> {
        self.ask(|steps| steps.notes(prefix, after, limit))
    }

    fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> BoxFuture<'static, Result<bool, LedgerError>> {
        self.ask(|steps| steps.write_notes(changes, expected))
    }

    fn size(&self) -> BoxFuture<'static, Result<Option<u64>, LedgerError>> {
        self.ask(Ledger::size)
    }

    fn copy_to(&self, folder: &Path) -> BoxFuture<'static, Result<(), LedgerError>> {
        let (store, folder) = (self.store.clone(), folder.to_owned());
        let copied = async move { store.copy_to(folder).await };
        // Once it was polled, the copy is made by a thread of its own.
        told(Box::pin(copied))
    }

    fn close(&self) -> BoxFuture<'static, Result<(), LedgerError>> {
        self.ask(Ledger::close)
    }
}
