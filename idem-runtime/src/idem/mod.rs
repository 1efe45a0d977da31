//! The handle: one open ledger, its dead letters, and the calls that run on them.

pub(crate) mod background;
pub(crate) mod builder;
pub(crate) mod current;

pub use builder::IdemBuilder;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

use crate::call::wait::wait;
use crate::call::{Leases, SingleFlight};
use crate::clock::Clock;
use crate::dead_letters::{DeadLetters, Hidden, Publishers, Runners};
use crate::error::Error;
use crate::handler::Handlers;
use crate::handler::names::Earlier;
use crate::idem::background::Keeper;
use crate::idem::builder::Limits;
use crate::issuer::Sequences;
use crate::ledger::{Ledger, LedgerError, Notes, Swept};
use crate::outbox::Sending;
use crate::protocol::{DeadLetter, Record, RecordId, Reply, Step};
use crate::{failpoint, metrics};

/// An open ledger with its dead letters, and what runs handlers on it. A clone is another handle of
/// the same.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let data = folder.path().join("data");
/// use idem_runtime::{Error, Idem, idempotent};
///
/// #[idempotent(name = "orders.place", key = "order_no")]
/// async fn place_order(order_no: String, qty: u32) -> Result<u32, Error> {
///     Ok(qty * 100)
/// }
///
/// let idem = Idem::open(&data)?;
/// idem.scope(async {
///     assert_eq!(place_order("A-1001".into(), 2).await?, 200); // runs
///     assert_eq!(place_order("A-1001".into(), 2).await?, 200); // the recorded result
///     Ok::<(), Error>(())
/// })
/// .await?;
/// idem.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Idem {
    owner: Arc<Owner>,
}

/// What ends when the last handle does.
struct Owner {
    inner: Arc<Inner>,
    keeper: Keeper,
}

/// What handles, calls and the keeper share.
pub(crate) struct Inner {
    /// The process that opened it: a fork has none of its threads.
    process: u32,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) instance: Arc<str>,
    pub(crate) handlers: Handlers,
    pub(crate) earlier: Earlier,
    pub(crate) flights: SingleFlight,
    pub(crate) leases: Leases,
    pub(crate) runners: Runners,
    pub(crate) outbox: Sending,
    pub(crate) sequences: Sequences,
    pub(crate) publishers: Publishers,
    pub(crate) hidden: Hidden,
    pub(crate) born: broadcast::Sender<DeadLetter>,
    /// Reports of ended attempts that the ledger could not take: the next call of the key, or the
    /// keeper, brings them again, so that a full disk makes no body run twice.
    unreported: Mutex<HashMap<RecordId, Step>>,
    /// How many calls are running.
    running: AtomicUsize,
    closed: AtomicBool,
    /// Rung when the last call ends after the closing.
    ended: Notify,
}

impl Idem {
    /// Opens the embedded ledger in a folder, or makes one there.
    ///
    /// Messages of a process that died are settled first: those whose budget is spent are dead
    /// letters when this returns.
    ///
    /// # Errors
    /// [`Error::Ledger`], which says what is wrong with the folder: held by another process, not writable, full,
    /// damaged, or with fewer records than were acknowledged.
    #[cfg(feature = "sled")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(path)
    }

    /// The limits and other choices, to be followed by `open`.
    pub fn builder() -> IdemBuilder {
        IdemBuilder::default()
    }

    pub(crate) fn start(inner: Arc<Inner>, keeper: Keeper) -> Self {
        Self {
            owner: Arc::new(Owner { inner, keeper }),
        }
    }

    /// Makes it the process's default.
    ///
    /// # Errors
    /// [`Error::AlreadyInstalled`] when there is one.
    pub fn install(&self) -> Result<(), Error> {
        current::install(self)
    }

    /// Runs a future in which handlers belong to this Idem, whatever is installed. A task spawned
    /// inside is outside: give it a scope of its own, or the handler `runtime = …`. The future has
    /// a handle of its own, so that it can be spawned.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # use idem_runtime::{Error, Idem, idempotent};
    /// #[idempotent(name = "orders.place", key = "order_no")]
    /// async fn place_order(order_no: String) -> Result<u32, Error> {
    ///     Ok(200)
    /// }
    ///
    /// let idem = Idem::open(folder.path())?;
    /// let placed = tokio::spawn(idem.scope(place_order("A-1".into())));
    /// assert_eq!(placed.await??, 200);
    /// # Ok(()) }
    /// ```
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        current::scope(self.clone(), future)
    }

    /// [`scope`](Self::scope) for code that is not async.
    pub fn sync_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        current::sync_scope(self.clone(), work)
    }

    /// Its dead letters.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::of(self.clone())
    }

    /// Its notes: small durable values for the programs around idem.
    pub fn notes(&self) -> Notes {
        Notes::of(Arc::clone(&self.inner().ledger))
    }

    /// What the ledger takes on the disk, in bytes, where it can tell.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be asked.
    pub async fn ledger_size(&self) -> Result<Option<u64>, Error> {
        Ok(self.inner().ledger.size().await?)
    }

    /// Copies the ledger while it works, into a folder that is empty or not there yet. The copy
    /// holds everything that was answered before, has been opened once as a proof, and is durable
    /// when this returns.
    ///
    /// Copying the folder by other means while it is open does not do: files change while they are
    /// read, and the copy is refused when it is opened. Duplicates are answered meanwhile, and
    /// other calls wait; on a file system with reflinks (Btrfs, XFS) that is a moment, elsewhere as
    /// long as the copy takes. Once begun, it is made even when the future is dropped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use idem_runtime::Idem;
    /// # let backups = tempfile::tempdir()?;
    /// # let idem = Idem::open(backups.path().join("data"))?;
    /// let copy = backups.path().join("2026-03-01");
    /// idem.copy_to(&copy).await?;
    /// # idem.close().await?;
    /// Idem::open(copy)?; // in place of the folder that was lost
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Ledger`] when the folder is not empty, is inside the ledger's own, cannot be written, or when there is no
    /// room; what there was of the copy is removed.
    pub async fn copy_to(&self, folder: impl AsRef<Path>) -> Result<(), Error> {
        Ok(self.inner().ledger.copy_to(folder.as_ref()).await?)
    }

    /// The clock it runs on, for the programs around it.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner().clock)
    }

    /// Does now what the background does in small pieces: buries what nobody came back for, forgets
    /// results and closed letters whose time is over.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be done.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let mut all = Swept::default();
        while !all.finished {
            let swept = self.inner().sweep(1000).await?;
            all.dead_lettered.extend(swept.dead_lettered);
            all.removed += swept.removed;
            all.finished = swept.finished;
        }
        Ok(all)
    }

    /// What the ledger remembers of one message: under its handler's name, else under one that the
    /// handler had before (`was = "…"`).
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be read.
    pub async fn record(&self, id: &RecordId) -> Result<Option<Record>, Error> {
        Ok(self.inner().record(id).await?)
    }

    /// The names that a handler had before (`was = "…"`), as far as its calls said them on this
    /// ledger.
    pub fn earlier_names(&self, handler: &str) -> Vec<String> {
        self.inner().earlier.of(handler)
    }

    /// Takes no more calls, waits for the running ones up to the builder's deadline, and lets go of
    /// the ledger.
    ///
    /// # Errors
    /// [`Error::Unrecorded`] when ends of attempts could not be recorded to the last, as on a full disk;
    /// [`Error::StillRunning`] when the deadline came first; [`Error::Ledger`] when the ledger could not be closed, or
    /// in a process that was forked from the one that opened it.
    pub async fn close(&self) -> Result<(), Error> {
        let inner = self.inner();
        inner.is_here()?;
        inner.closed.store(true, Ordering::SeqCst);
        let waited = inner.limits.close_deadline;
        let deadline = inner.clock.sleep(waited);
        let ended = std::pin::pin!(inner.ended());
        let in_time = matches!(
            futures_util::future::select(ended, deadline).await,
            futures_util::future::Either::Left(_)
        );
        self.owner.keeper.stop().await;
        let closed = inner.ledger.close().await;
        let unrecorded: Vec<RecordId> = inner.unreported.lock().keys().cloned().collect();
        if !unrecorded.is_empty() {
            return Err(Error::Unrecorded {
                messages: unrecorded,
            });
        }
        closed?;
        if in_time {
            return Ok(());
        }
        Err(Error::StillRunning {
            running: inner.running.load(Ordering::SeqCst),
            waited,
        })
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.owner.inner
    }

    /// Where calls leave work to the background.
    pub(crate) fn keeper(&self) -> &Keeper {
        &self.owner.keeper
    }
}

impl fmt::Debug for Idem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idem")
            .field("instance", &self.inner().instance)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.inner.is_here().is_err() {
            return;
        }
        // Dropped calls are given back before the ledger closes; a new owner of the folder finds it
        // free.
        self.keeper.stop_and_wait();
        if let Err(error) = wait(self.inner.ledger.close()) {
            tracing::error!(%error, "the ledger could not be closed");
        }
    }
}

impl Inner {
    pub(crate) fn new(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        instance: Arc<str>,
    ) -> Self {
        Self {
            process: failpoint::process(),
            ledger,
            clock,
            limits,
            instance,
            handlers: Handlers::default(),
            earlier: Earlier::default(),
            flights: SingleFlight::default(),
            leases: Leases::default(),
            runners: Runners::default(),
            outbox: Sending::default(),
            sequences: Sequences::default(),
            publishers: Publishers::default(),
            hidden: Hidden::default(),
            born: broadcast::Sender::new(1024),
            unreported: Mutex::default(),
            running: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            ended: Notify::new(),
        }
    }

    /// One step, and if it wrote a letter, people are told.
    pub(crate) async fn apply(&self, id: &RecordId, step: Step) -> Result<Reply, LedgerError> {
        self.heard(self.ledger.apply(id, step).await).await
    }

    /// If that step wrote a letter, people are told.
    pub(crate) async fn heard(
        &self,
        reply: Result<Reply, LedgerError>,
    ) -> Result<Reply, LedgerError> {
        if let Ok(Reply::DeadLettered(letter)) = &reply {
            self.tell(letter);
            self.count_letters().await;
        }
        reply
    }

    /// Keeps a report that the ledger could not take now, to be brought again.
    pub(crate) fn keep_unreported(
        &self,
        id: &RecordId,
        step: Step,
        reply: &Result<Reply, LedgerError>,
    ) {
        if let Err(error) = reply {
            tracing::error!(handler = &*id.handler, key = &*id.key, %error, "an attempt's end could not be recorded");
            self.unreported.lock().insert(id.clone(), step);
        }
    }

    /// Whether there is a report of this key that the ledger could not take.
    pub(crate) fn has_unreported(&self, id: &RecordId) -> bool {
        self.unreported.lock().contains_key(id)
    }

    /// Brings the report that the ledger could not take, if there is one for this key.
    pub(crate) async fn report_again(&self, id: &RecordId) -> Result<(), LedgerError> {
        let Some(step) = self.unreported.lock().get(id).cloned() else {
            return Ok(());
        };
        self.apply(id, step.clone()).await?;
        // Somebody else may have brought it too, and a later attempt's report may stand in its
        // place.
        let mut unreported = self.unreported.lock();
        if unreported.get(id) == Some(&step) {
            unreported.remove(id);
        }
        tracing::info!(
            handler = &*id.handler,
            key = &*id.key,
            "the end of an earlier attempt is recorded now"
        );
        Ok(())
    }

    /// Brings all such reports.
    pub(crate) async fn report_all_again(&self) {
        let ids: Vec<_> = self.unreported.lock().keys().cloned().collect();
        for id in ids {
            match self.report_again(&id).await {
                // One record that cannot be read must not keep the others from theirs.
                Ok(()) | Err(LedgerError::Record { .. }) => {}
                Err(_) => return,
            }
        }
    }

    /// Buries what a dead process left with its budget spent, and reads what else it left.
    pub(crate) async fn settle_the_dead(&self) -> Result<(), LedgerError> {
        self.sweep(0).await?;
        self.count_letters().await;
        self.earlier.read(&*self.ledger).await
    }

    pub(crate) async fn sweep(&self, settled: usize) -> Result<Swept, LedgerError> {
        let swept = self
            .ledger
            .sweep(settled, self.limits.letter_retention)
            .await?;
        swept
            .dead_lettered
            .iter()
            .for_each(|letter| self.tell(letter));
        if !swept.dead_lettered.is_empty() {
            self.count_letters().await;
        }
        Ok(swept)
    }

    pub(crate) fn tell(&self, letter: &DeadLetter) {
        metrics::died(letter);
        // Nobody needs to be watching.
        let _ = self.born.send(letter.clone());
    }

    pub(crate) async fn count_letters(&self) {
        if let Ok(count) = self.ledger.open_letters().await {
            metrics::open_letters(count);
        }
    }

    /// Whether this is the process that opened it.
    pub(crate) fn is_here(&self) -> Result<(), LedgerError> {
        if failpoint::process() == self.process {
            Ok(())
        } else {
            Err(LedgerError::Forked {
                opened_by: self.process,
            })
        }
    }

    /// Lets a call in, unless this was closed. The entry lasts as long as the call.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Entry> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let entry = Entry(Arc::clone(self));
        (!self.closed.load(Ordering::SeqCst)).then_some(entry)
    }

    /// Waits, once this is closed, until no call is running.
    async fn ended(&self) {
        loop {
            // Made before the look, so that no ring is missed.
            let ended = self.ended.notified();
            if self.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// A running call's place; `close` waits until it is dropped.
#[derive(Debug)]
pub(crate) struct Entry(Arc<Inner>);

impl Drop for Entry {
    fn drop(&mut self) {
        let last = self.0.running.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.0.closed.load(Ordering::SeqCst) {
            self.0.ended.notify_waiters();
        }
    }
}
