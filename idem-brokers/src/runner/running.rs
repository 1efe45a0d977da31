//! The handle of a running consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::state::State;

/// A running consumer. Dropping it stops it at once and gives back the messages in progress.
#[derive(Debug)]
#[must_use = "the consumer stops when this is dropped"]
pub struct Running {
    pub(super) stop: CancellationToken,
    pub(super) abandon: CancellationToken,
    pub(super) state: watch::Receiver<State>,
    pub(super) settled: Arc<AtomicU64>,
    pub(super) task: Option<JoinHandle<()>>,
}

impl Running {
    /// Returns the consumer's state.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Returns how many messages the consumer has acked since it started.
    pub fn settled(&self) -> u64 {
        self.settled.load(Relaxed)
    }

    /// Waits until the consumer takes messages. Returns false if it stopped before.
    pub async fn taking(&self) -> bool {
        let mut state = self.state.clone();
        let reached = state
            .wait_for(|state| !matches!(state, State::Connecting | State::Paused))
            .await;
        reached.is_ok_and(|state| *state != State::Stopped)
    }

    /// Stops taking messages, gives back those whose call did not begin, and waits for the calls in
    /// progress. A call that has not ended after `deadline` is dropped, which counts as an attempt
    /// with an unknown outcome, and its message is given back.
    pub async fn stop(mut self, deadline: Duration) {
        self.stop.cancel();
        let Some(mut task) = self.task.take() else {
            return;
        };
        if timeout(deadline, &mut task).await.is_err() {
            self.abandon.cancel();
            // The user's code no longer runs, and the rest has deadlines of its own.
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if self.task.is_some() {
            self.abandon.cancel();
        }
    }
}
