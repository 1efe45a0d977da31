//! The handle: one open ledger, its dead letters, and the calls that run on them.

pub(crate) mod background;
pub(crate) mod builder;
pub(crate) mod current;
pub(crate) mod shared;

pub use builder::IdemBuilder;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::{Either, select};

use crate::call::wait::wait;
use crate::clock::Clock;
use crate::error::Error;
use crate::idem::background::Background;
use crate::idem::shared::Shared;
use crate::ledger::Swept;
use crate::protocol::{Record, RecordId};

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
    shared: Arc<Shared>,
    background: Background,
}

impl Idem {
    pub(crate) fn start(shared: Arc<Shared>, background: Background) -> Self {
        Self {
            owner: Arc::new(Owner { shared, background }),
        }
    }

    /// What the ledger takes on the disk, in bytes, where it can tell.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be asked.
    pub async fn ledger_size(&self) -> Result<Option<u64>, Error> {
        Ok(self.shared().ledger.size().await?)
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
        Ok(self.shared().ledger.copy_to(folder.as_ref()).await?)
    }

    /// The clock it runs on, for the programs around it.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared().clock)
    }

    /// Does now what the background does in small pieces: buries what nobody came back for, forgets
    /// results and closed letters whose time is over.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be done.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let mut all = Swept::default();
        while !all.whole {
            let swept = self.shared().sweep(1000).await?;
            all.died.extend(swept.died);
            all.expired += swept.expired;
            all.whole = swept.whole;
        }
        Ok(all)
    }

    /// What the ledger remembers of one message: under its handler's name, else under one that the
    /// handler had before (`was = "…"`).
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be read.
    pub async fn record(&self, id: &RecordId) -> Result<Option<Record>, Error> {
        Ok(self.shared().record(id).await?)
    }

    /// The names that a handler had before (`was = "…"`), as far as its calls said them on this
    /// ledger.
    pub fn earlier_names(&self, handler: &str) -> Vec<String> {
        self.shared().earlier.of(handler)
    }

    /// Takes no more calls, waits for the running ones up to the builder's deadline, and lets go of
    /// the ledger.
    ///
    /// # Errors
    /// [`Error::Unrecorded`] when ends of attempts could not be recorded to the last, as on a full disk;
    /// [`Error::StillRunning`] when the deadline came first; [`Error::Ledger`] when the ledger could not be closed, or
    /// in a process that was forked from the one that opened it.
    pub async fn close(&self) -> Result<(), Error> {
        let shared = self.shared();
        shared.is_here()?;
        shared.refuse_calls();
        let waited = shared.limits.close_deadline;
        let deadline = shared.clock.sleep(waited);
        let idle = std::pin::pin!(shared.idle());
        let in_time = matches!(select(idle, deadline).await, Either::Left(_));
        self.owner.background.stop().await;
        let closed = shared.ledger.close().await;
        let unrecorded = shared.unreported();
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
            running: shared.running(),
            waited,
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// Where calls leave work to the background.
    pub(crate) fn background(&self) -> &Background {
        &self.owner.background
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
        // Dropped calls are given back before the ledger closes; a new owner of the folder finds it
        // free.
        self.background.stop_and_wait();
        if let Err(error) = wait(self.shared.ledger.close()) {
            tracing::error!(%error, "the ledger could not be closed");
        }
    }
}
