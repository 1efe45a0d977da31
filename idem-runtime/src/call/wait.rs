//! Waiting for a future without a runtime, on whatever thread this is.

use std::future::Future;

/// Waits for a future. On a thread of tokio's its budget does not count: once that is used up,
/// tokio's own futures are ready for nobody until the task yields, and what waits here never does.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    pollster::block_on(tokio::task::unconstrained(future))
}
