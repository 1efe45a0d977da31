//! Which Idem a call belongs to: the task's, else the process's.

use std::future::Future;

use parking_lot::RwLock;

use crate::error::Error;
use crate::idem::Idem;

tokio::task_local! {
    static SCOPED: Idem;
}

static INSTALLED: RwLock<Option<Idem>> = RwLock::new(None);

/// The scope's, else the installed one.
pub(crate) fn idem() -> Option<Idem> {
    SCOPED.try_with(Idem::clone).ok().or_else(|| INSTALLED.read().clone())
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
