//! Which Idem a call belongs to: the task's scope, else the process's default.

use std::future::Future;

use parking_lot::RwLock;

use crate::error::Error;
use crate::idem::Idem;

tokio::task_local! {
    static SCOPED: Idem;
}

static INSTALLED: RwLock<Option<Idem>> = RwLock::new(None);

impl Idem {
    /// Makes this Idem the process's default.
    ///
    /// # Errors
    /// [`Error::AlreadyInstalled`] when the process has a default.
    pub fn install(&self) -> Result<(), Error> {
        install(self)
    }

    /// Runs a future whose handlers belong to this Idem, whatever is installed. A task that is
    /// spawned inside does not inherit the scope: give it a scope of its own, or the handler
    /// `runtime = …`. The returned future owns a handle, so it can be spawned.
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
        scope(self.clone(), future)
    }

    /// [`scope`](Self::scope) for code that is not async.
    pub fn sync_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        sync_scope(self.clone(), work)
    }
}

/// Returns the scope's Idem, else the installed one.
pub(crate) fn idem() -> Option<Idem> {
    SCOPED
        .try_with(Idem::clone)
        .ok()
        .or_else(|| INSTALLED.read().clone())
}

fn install(idem: &Idem) -> Result<(), Error> {
    let mut installed = INSTALLED.write();
    if installed.is_some() {
        return Err(Error::AlreadyInstalled);
    }
    *installed = Some(idem.clone());
    Ok(())
}

pub(crate) fn scope<F: Future>(idem: Idem, future: F) -> impl Future<Output = F::Output> {
    SCOPED.scope(idem, future)
}

pub(crate) fn sync_scope<T>(idem: Idem, work: impl FnOnce() -> T) -> T {
    SCOPED.sync_scope(idem, work)
}
