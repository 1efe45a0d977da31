//! Receives messages from a source, over one connection after the other.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::circuit_breaker::LONGEST;
use super::processor::{PATIENCE, Processor};
use super::state::{State, Status};
use crate::backoff::Backoff;
use crate::delivery::{Session, Source};
use crate::error::BrokerError;

pub(super) struct Receiver<S, T> {
    source: Arc<S>,
    prefetch: usize,
    permits: Arc<Semaphore>,
    processor: Arc<Processor<T>>,
    in_progress: TaskTracker,
    stop: CancellationToken,
    status: Status,
}

/// Why a connection ended.
enum Ended {
    Stopped,
    Broken(BrokerError),
}

impl<S: Source, T: Send + 'static> Receiver<S, T> {
    pub(super) fn new(
        source: Arc<S>,
        prefetch: usize,
        processor: Processor<T>,
        stop: CancellationToken,
        status: Status,
    ) -> Self {
        Self {
            source,
            prefetch,
            permits: Arc::new(Semaphore::new(prefetch)),
            processor: Arc::new(processor),
            in_progress: TaskTracker::new(),
            stop,
            status,
        }
    }

    /// Receives messages until it is stopped, and connects again after a failure.
    pub(super) async fn run(self) {
        let name = self.source.name();
        let mut backoff = Backoff::up_to(LONGEST);
        while !self.stop.is_cancelled() {
            self.status.set(State::Connecting);
            let error = match self.connect().await {
                None => break,
                Some(Err(error)) => error,
                Some(Ok(mut session)) => {
                    tracing::info!(source = name, prefetch = self.prefetch, "taking messages");
                    self.status.set(State::Taking);
                    let ended = self.receive(&mut session, &mut backoff).await;
                    if matches!(ended, Ended::Stopped) {
                        // Messages in progress still need the connection.
                        self.finish().await;
                    }
                    if timeout(PATIENCE, session.close()).await.is_err() {
                        tracing::warn!(
                            source = name,
                            "the connection did not close in time and was abandoned"
                        );
                    }
                    match ended {
                        Ended::Stopped => break,
                        Ended::Broken(error) => error,
                    }
                }
            };
            let pause = backoff.next();
            tracing::warn!(source = name, %error, ?pause, "cannot receive messages; connecting again after a pause");
            self.stop.run_until_cancelled(sleep(pause)).await;
        }
        self.finish().await;
        self.status.set(State::Stopped);
        tracing::info!(source = name, "stopped");
    }

    async fn finish(&self) {
        self.in_progress.close();
        self.in_progress.wait().await;
    }

    async fn connect(&self) -> Option<Result<S::Session, BrokerError>> {
        let connect = timeout(3 * PATIENCE, self.source.connect(self.prefetch));
        let connected = self.stop.run_until_cancelled(connect).await?;
        Some(connected.unwrap_or_else(|late| Err(BrokerError::new("broker", "connect", late))))
    }

    async fn receive(&self, session: &mut S::Session, backoff: &mut Backoff) -> Ended {
        loop {
            let Some(permit) = self.stop.run_until_cancelled(self.permit()).await else {
                return Ended::Stopped;
            };
            // This message's permit, and the free ones.
            let room = 1 + self.permits.available_permits();
            match self.stop.run_until_cancelled(session.next(room)).await {
                None => return Ended::Stopped,
                Some(Err(error)) => return Ended::Broken(error),
                Some(Ok(delivery)) => {
                    // The connection works, so the next pause starts short again.
                    *backoff = Backoff::up_to(LONGEST);
                    // Decoded here and not in the task: turns are taken in the order of arrival.
                    let processed = Arc::clone(&self.processor).process(delivery);
                    self.in_progress
                        .spawn(processed.map(move |()| drop(permit)));
                }
            }
        }
    }

    /// Waits for room for one more message, and until messages can be recorded.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        while let Some(until) = self.processor.circuit_breaker.open_until() {
            self.status.set(State::Paused);
            sleep_until(until).await;
        }
        self.status.set(State::Taking);
        permit
    }
}
