//! Waits for a future without a runtime, on any thread.

use std::future::Future;

/// Waits for a future. On a tokio thread the task's cooperative budget is ignored: once it is used
/// up, tokio's own futures stay pending until the task yields, and a thread that blocks never does.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    pollster::block_on(tokio::task::unconstrained(future))
}
