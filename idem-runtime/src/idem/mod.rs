//! The handle: one open ledger, its dead letters, and the calls that run on them.

pub(crate) mod background;
pub(crate) mod builder;
pub(crate) mod current;
mod housekeeping;
pub(crate) mod shared;

pub use builder::IdemBuilder;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::{Either, select};

use crate::clock::Clock;
use crate::error::CloseError;
use crate::idem::background::{Background, BackgroundThread};
use crate::idem::shared::Shared;
use crate::ledger::{LedgerError, Swept, Waiting};
use crate::log;
use crate::pause;
use crate::protocol::{Record, RecordId};

/// An open ledger, its dead letters, and the handlers that run on it. A clone is another handle to
/// the same ledger.
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

/// Closed when the last handle is dropped.
struct Owner {
    shared: Arc<Shared>,
    background: BackgroundThread,
}

impl Idem {
    pub(crate) fn start(shared: Arc<Shared>, background: BackgroundThread) -> Self {
        let house = housekeeping::keep_house(Arc::clone(&shared));
        background.handle().spawn(house);
        background.handle().spawn(pause::watch(Arc::clone(&shared)));
        let lines = log::sum_up_lines(Arc::clone(&shared));
        background.handle().spawn(lines);
        Self {
            owner: Arc::new(Owner { shared, background }),
        }
    }

    /// Returns the size of the ledger on disk, in bytes, or `None` where the ledger does not know
    /// it.
    ///
    /// # Errors
    /// Returns an error when the ledger cannot be read.
    pub async fn ledger_size(&self) -> Result<Option<u64>, LedgerError> {
        self.shared().ledger.size().await
    }

    /// Returns the name of this instance, as its letters have it: host, process and a random part.
    pub fn instance(&self) -> &str {
        &self.shared().instance
    }

    /// Returns the messages that wait for their next attempt, or `None` where the ledger does not
    /// count them. They were counted a second ago; on a shared ledger, where counting them takes
    /// longer than 20 ms, up to 50 times as long ago as it takes.
    pub fn waiting(&self) -> Option<Waiting> {
        *self.shared().waiting.lock()
    }

    /// Copies the ledger while it is in use, into a folder that is empty or does not exist. The
    /// copy holds everything that was durable before the call. It has been opened once as a check,
    /// and is durable when this returns.
    ///
    /// Do not copy the folder of an open ledger by other means: its files change while they are
    /// read, and such a copy is refused when it is opened. During the copy, duplicates are answered,
    /// and on sled other calls wait: for a moment on a file system with reflinks (Btrfs, XFS),
    /// elsewhere as long as the copy takes. On fjall nothing waits. Once begun, the copy is made even if the future is dropped.
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
    /// Returns an error when the folder is not empty, is inside the ledger's own, cannot be
    /// written, or when the disk is full. An incomplete copy is removed.
    pub async fn copy_to(&self, folder: impl AsRef<Path>) -> Result<(), LedgerError> {
        self.shared().ledger.copy_to(folder.as_ref()).await
    }

    /// Returns the clock of this Idem, for the programs around it.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared().clock)
    }

    /// Does at once what the background does in small pieces: writes dead letters for abandoned
    /// messages, and removes expired results and closed letters.
    ///
    /// # Errors
    /// Returns an error when the ledger fails.
    pub async fn sweep(&self) -> Result<Swept, LedgerError> {
        let mut all = Swept::default();
        while !all.finished {
            let swept = self.shared().sweep(1000).await?;
            all.dead_lettered.extend(swept.dead_lettered);
            all.removed += swept.removed;
            all.finished = swept.finished;
            all.waiting = swept.waiting.or(all.waiting);
        }
        Ok(all)
    }

    /// Returns the record of one message: under its handler's name, else under an earlier name of
    /// the handler (`was = "…"`).
    ///
    /// # Errors
    /// Returns an error when it cannot be read.
    pub async fn record(&self, id: &RecordId) -> Result<Option<Record>, LedgerError> {
        self.shared().record(id).await
    }

    /// Returns the earlier names of a handler (`was = "…"`), as far as calls on this ledger have
    /// given them.
    pub fn earlier_names(&self, handler: &str) -> Vec<String> {
        self.shared().earlier.get(handler)
    }

    /// Refuses new calls, waits for the running ones and for letters that are being published, up to
    /// the builder's deadline, and closes the ledger.
    ///
    /// # Errors
    /// [`CloseError::Unrecorded`] when the end of an attempt could not be recorded, as on a full
    /// disk; [`CloseError::StillRunning`] when the deadline came first; [`CloseError::Ledger`] when
    /// the ledger could not be closed, or in a process that was forked from the one that opened it.
    pub async fn close(&self) -> Result<(), CloseError> {
        let shared = self.shared();
        shared.is_here()?;
        shared.refuse_calls();
        let waited = shared.limits.close_deadline;
        let deadline = shared.clock.sleep(waited);
        let idle = std::pin::pin!(shared.idle());
        let in_time = matches!(select(idle, deadline).await, Either::Left(_));
        let finishing = Arc::clone(shared);
        let finished = self
            .owner
            .background
            .stop(async move { finishing.finish().await });
        let closed = match finished.await {
            Some(closed) => closed,
            // It was closed before.
            None => shared.ledger.close().await,
        };
        let unrecorded = shared.unreported();
        if !unrecorded.is_empty() {
            return Err(CloseError::Unrecorded {
                messages: unrecorded,
            });
        }
        closed?;
        if in_time {
            return Ok(());
        }
        Err(CloseError::StillRunning {
            running: shared.running(),
            waited,
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// Returns the background, which finishes what calls leave behind.
    pub(crate) fn background(&self) -> &Background {
        self.owner.background.handle()
    }
}

impl fmt::Debug for Idem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idem")
            .field("instance", &self.shared().instance)
            .finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.shared.is_here().is_err() {
            return;
        }
        // What dropped calls left is recorded before the ledger closes, so that the next process
        // that opens the folder finds it complete.
        let shared = Arc::clone(&self.shared);
        self.background.stop_and_wait(Box::pin(async move {
            if let Err(error) = shared.finish().await {
                tracing::error!(
                    error = format_args!("{error:#}"),
                    "the ledger could not be closed"
                );
            }
        }));
    }
}
