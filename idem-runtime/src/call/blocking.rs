//! Waiting without `await`, for sync handlers.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;

use tokio::runtime::{Handle, RuntimeFlavor};

/// Whether this thread belongs to a tokio runtime whose other threads can go on without it.
pub(super) fn on_multi_thread_runtime() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Waits for a future, and tells a multi-thread runtime to move this thread's tasks elsewhere meanwhile.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    if !on_multi_thread_runtime() {
        return pollster::block_on(future);
    }
    let mut entered = false;
    let waited = catch_unwind(AssertUnwindSafe(|| {
        tokio::task::block_in_place(|| {
            entered = true;
            pollster::block_on(future.as_mut())
        })
    }));
    match waited {
        Ok(output) => output,
        Err(panic) if entered => resume_unwind(panic),
        // tokio refuses it inside a `LocalSet`; there the thread is simply held.
        Err(_) => pollster::block_on(future),
    }
}
