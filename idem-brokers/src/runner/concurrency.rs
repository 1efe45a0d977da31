//! Limits how many calls of the handler run at a time.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct Concurrency {
    permits: Semaphore,
    stop: CancellationToken,
}

impl Concurrency {
    pub(super) fn new(in_flight: usize, stop: CancellationToken) -> Self {
        Self {
            permits: Semaphore::new(in_flight),
            stop,
        }
    }

    /// Returns what is cancelled once the consumer is being stopped.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Waits for a permit for one call. Returns `None` once the consumer is being stopped.
    pub(super) async fn acquire(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.stop
            .run_until_cancelled(self.permits.acquire())
            .await?
            .ok()
    }
}
