//! Waits and works without `await`, for sync handlers.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::call::wait::wait;

/// Whether this thread belongs to a tokio runtime whose other threads can go on without it.
pub(super) fn on_multi_thread_runtime() -> bool {
    Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Waits for a future.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    hold(|| wait(future))
}

/// Runs `work` on this thread, and lets a multi-thread runtime move its other tasks elsewhere
/// meanwhile.
pub(super) fn hold<T>(work: impl FnOnce() -> T) -> T {
    if !on_multi_thread_runtime() {
        return work();
    }
    let mut work = Some(work);
    let mut output = None;
    let held = catch_unwind(AssertUnwindSafe(|| {
        tokio::task::block_in_place(|| output = work.take().map(|work| work()));
    }));
    match (held, output, work) {
        (_, Some(output), _) => output,
        // tokio refuses to do so inside a `LocalSet`, before the work begins: the thread is held.
        (_, None, Some(work)) => work(),
        (Err(panic), None, None) => resume_unwind(panic),
        (Ok(()), None, None) => unreachable!("work that was begun and did not panic has an output"),
    }
}
