//! Places for the handler's calls: so many run at a time, and none begins once the consumer is
//! being stopped.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct Places {
    free: Semaphore,
    stop: CancellationToken,
}

impl Places {
    pub(super) fn new(in_flight: usize, stop: CancellationToken) -> Self {
        Self {
            free: Semaphore::new(in_flight),
            stop,
        }
    }

    /// A place for one call; nothing where no more calls begin.
    pub(super) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.stop
            .run_until_cancelled(self.free.acquire())
            .await?
            .ok()
    }
}
