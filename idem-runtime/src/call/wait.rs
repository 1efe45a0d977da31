//! Waits for a future without a runtime, on any thread.

use std::cell::Cell;
use std::future::Future;

thread_local! {
    static BLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Waits for a future. On a tokio thread the task's cooperative budget is ignored: once it is used
/// up, tokio's own futures stay pending until the task yields, and a thread that blocks never does.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let _before = Before(BLOCKED.replace(true));
    pollster::block_on(tokio::task::unconstrained(future))
}

/// Returns whether this thread is blocked until a future is ready: it may be the only one of its
/// runtime, whose I/O nothing drives then.
pub(crate) fn is_blocked() -> bool {
    BLOCKED.get()
}

/// Restores what was before, also after a panic.
struct Before(bool);

impl Drop for Before {
    fn drop(&mut self) {
        BLOCKED.set(self.0);
    }
}
