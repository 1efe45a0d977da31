//! Holds the messages of a paused handler until they may run.

use idem_runtime::Idem;
use idem_runtime::pause::Turn;
use tokio_util::sync::CancellationToken;

use super::state::{Status, Waits};
use crate::metrics;

pub(super) struct Hold {
    idem: Idem,
    source: String,
    status: Status,
    stop: CancellationToken,
}

impl Hold {
    pub(super) fn new(idem: Idem, source: String, status: Status, stop: CancellationToken) -> Self {
        Self {
            idem,
            source,
            status,
            stop,
        }
    }

    /// Names the handler in the consumer's state until the returned value is dropped.
    pub(super) fn waits(&self, handler: &str) -> Waits {
        self.status.waits(handler)
    }

    /// Waits until a message of the handler may run. The turn is for one delivery. Returns `None` once
    /// the consumer is being stopped.
    pub(super) async fn turn(&self, handler: &str) -> Option<Turn> {
        let _held = Held::new(&self.source);
        let turn = self.idem.admitted(handler);
        self.stop.run_until_cancelled(turn).await
    }
}

/// A message that is held, and counted.
struct Held<'h>(&'h str);

impl<'h> Held<'h> {
    fn new(source: &'h str) -> Self {
        metrics::held(source).increment(1);
        Self(source)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        metrics::held(self.0).decrement(1);
    }
}
