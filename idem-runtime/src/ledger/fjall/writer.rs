//! Group commit: one thread takes the waiting requests, decides them one after the other, writes them
//! with one sync, and answers all of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;

use super::db::NotCommitted;
use super::group::{Edits, Group};
use super::opening::Opened;
use super::rows::Meta;
use super::shared::{Shared, refused};
use crate::failpoint;
use crate::ledger::LedgerError;
use crate::ledger::folder::health::Health;
use crate::ledger::folder::witness::Witness;
use crate::ledger::shared::{StoreError, StoreErrorKind};

/// How many requests a group has at most. A request may be a batch of many writes.
const MOST: usize = 64;

/// What is asked of the thread.
pub(super) enum Message {
    Request(Box<dyn Request>),
    /// To end, once all that was asked before is done.
    Close,
}

/// A request that is decided within a group.
pub(super) trait Request: Send {
    /// Decides it. Returns whether what it wrote is to be kept.
    fn decide(&mut self, group: &mut Group<'_>) -> bool;

    /// Answers it: what it wrote is durable, or what is wrong.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// A request, and where its answer goes.
pub(super) struct Asked<T, D> {
    decide: Option<D>,
    decided: Option<Result<T, StoreError>>,
    done: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, D> Asked<T, D> {
    pub(super) fn new(decide: D, done: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self {
            decide: Some(decide),
            decided: None,
            done,
        }
    }
}

impl<T, D> Request for Asked<T, D>
where
    T: Send,
    D: FnOnce(&mut Group<'_>) -> Result<T, StoreError> + Send,
{
    fn decide(&mut self, group: &mut Group<'_>) -> bool {
        self.decided = self.decide.take().map(|decide| decide(group));
        matches!(self.decided, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.decided, committed) {
            (Some(Ok(decided)), Ok(())) => Ok(decided),
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(StoreError::new(StoreErrorKind::Away, "it was not decided")),
        };
        // The caller may have gone away.
        let _ = self.done.send(answer);
    }
}

/// The thread's own state.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) meta: Meta,
    pub(super) witness: Witness,
}

impl Writer {
    /// Works until it is told to end.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let _guard = Guard(Arc::clone(&self.shared));
        let mut ends = false;
        while !ends && let Ok(first) = messages.recv() {
            let mut requests = Vec::new();
            for message in std::iter::once(first).chain(messages.try_iter()) {
                match message {
                    Message::Request(request) => requests.push(request),
                    Message::Close => ends = true,
                }
                if ends || requests.len() == MOST {
                    break;
                }
            }
            self.serve(requests);
        }
    }

    fn serve(&mut self, mut requests: Vec<Box<dyn Request>>) {
        let shared = Arc::clone(&self.shared);
        let committed = match self.reopen() {
            Ok(()) => self.commit(&shared, &mut requests),
            Err(error) => Err(refused(error, false)),
        };
        if let Err(error) = &committed {
            tracing::error!(%error, "the ledger could not write");
        }
        for request in requests {
            request.answer(committed.clone());
        }
        failpoint::point!(ANSWERED);
    }

    /// Opens the engine again after it was refused a write: it answers nothing more until then.
    fn reopen(&mut self) -> Result<(), LedgerError> {
        if !self.shared.health.read().must_open_again()? {
            return Ok(());
        }
        self.open_again().inspect_err(|error| {
            if error.is_final() {
                self.shared.health.write().fail(error.clone());
            }
        })
    }

    fn open_again(&mut self) -> Result<(), LedgerError> {
        let shared = Arc::clone(&self.shared);
        shared.folder.is_in_place()?;
        // The open one still answers duplicates, so it is closed only when there is room for another.
        shared.folder.has_room()?;
        let mut health = shared.health.write();
        health.let_go();
        let Opened {
            db,
            meta,
            owned,
            open_letters,
        } = Opened::read(
            &shared.folder,
            shared.cache_bytes,
            Some(self.witness.group()),
        )?;
        self.meta = meta;
        *shared.owned.lock() = owned;
        shared.open_letters.store(open_letters, Ordering::Relaxed);
        *health = Health::Open(db);
        tracing::info!("the ledger is open again");
        Ok(())
    }

    /// Decides the requests, and writes what comes of them.
    fn commit(
        &mut self,
        shared: &Shared,
        requests: &mut [Box<dyn Request>],
    ) -> Result<(), StoreError> {
        let health = shared.health.read();
        let db = health.open().map_err(|error| refused(error, false))?;
        // Only this thread changes them.
        let held = shared.owned.lock();
        let mut group = Group::new(db, &held, &mut self.meta);
        for request in requests {
            let keep = request.decide(&mut group);
            group.end_request(keep);
        }
        let finished = group.finish();
        drop(held);
        let Some(Edits {
            rows,
            others,
            owned,
            opened,
            ..
        }) = finished
        else {
            return Ok(());
        };
        failpoint::point!(DECIDED);
        // Who finds a row finds what belongs to it.
        if let Err(error) = db.commit(others.into_iter().chain(rows)) {
            drop(health);
            let error = match error {
                NotCommitted::Before(error) => (error, false),
                NotCommitted::Within(error) => (shared.folder.after_a_write(error), true),
            };
            shared.health.write().fail(error.0.clone());
            return Err(refused(error.0, error.1));
        }
        failpoint::point!(SYNCED);
        // It may lag: it is written again with the next group.
        if let Err(error) = self.witness.write(self.meta.group) {
            tracing::warn!(%error, "the witness could not be written; the group is durable all the same");
        }
        failpoint::point!(WITNESSED);
        shared.owned.lock().apply(self.meta.group, owned);
        // It is the only thread that writes it.
        let open = shared.open_letters.load(Ordering::Relaxed);
        shared
            .open_letters
            .store(open.saturating_add_signed(opened), Ordering::Relaxed);
        drop(health);
        // If another process may have opened a ledger in this one's place, not even what is durable is
        // acknowledged.
        shared.folder.is_in_place().map_err(|error| {
            shared.health.write().fail(error.clone());
            refused(error, true)
        })
    }
}

/// Poisons the ledger when the thread dies. Closes it when the thread ends.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        let mut health = self.0.health.write();
        if std::thread::panicking() {
            health.fail(self.0.folder.poisoned("its writer died"));
        } else {
            *health = Health::Closed;
        }
        drop(health);
        self.0.folder.release();
    }
}
