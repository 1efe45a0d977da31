//! Which Idem a call belongs to: the task's, else the process's.

use std::future::Future;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::dead_letters::Redriving;
use crate::error::Error;
use crate::idem::Idem;

tokio::task_local! {
    static SCOPED: Idem;
    static REDRIVING: Arc<Redriving>;
}

static INSTALLED: RwLock<Option<Idem>> = RwLock::new(None);

/// The scope's, else the installed one.
pub(crate) fn idem() -> Option<Idem> {
    SCOPED
        .try_with(Idem::clone)
        .ok()
        .or_else(|| INSTALLED.read().clone())
}

pub(crate) fn install(idem: &Idem) -> Result<(), Error> {
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

/// Runs a handler on behalf of a letter.
pub(crate) fn redrive<F: Future>(
    idem: Idem,
    letter: Arc<Redriving>,
    run: F,
) -> impl Future<Output = F::Output> {
    SCOPED.scope(idem, REDRIVING.scope(letter, run))
}

/// The letter on whose behalf this code runs.
pub(crate) fn redriving() -> Option<Arc<Redriving>> {
    REDRIVING.try_with(Arc::clone).ok()
}
