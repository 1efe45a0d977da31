//! Taking messages from a source, one connection after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::State;
use super::gate::LONGEST;
use super::work::Work;
use crate::delivery::{Session, Source};
use crate::error::BrokerError;
use crate::pauses::Pauses;

/// How long a broker has to take a word, and to let a connection go.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Taker<S, T> {
    source: S,
    prefetch: usize,
    room: Arc<Semaphore>,
    work: Arc<Work<T>>,
    under_way: TaskTracker,
    stop: CancellationToken,
    state: watch::Sender<State>,
}

/// Why a connection is done with.
enum Over {
    Stopped,
    Broken(BrokerError),
}

impl<S: Source, T: Send + 'static> Taker<S, T> {
    pub(super) fn new(
        source: S,
        prefetch: usize,
        work: Work<T>,
        stop: CancellationToken,
        state: watch::Sender<State>,
    ) -> Self {
        let (room, work) = (Arc::new(Semaphore::new(prefetch)), Arc::new(work));
        Self {
            source,
            prefetch,
            room,
            work,
            under_way: TaskTracker::new(),
            stop,
            state,
        }
    }

    /// Until it is stopped.
    pub(super) async fn run(self) {
        let name = self.source.name();
        let mut pauses = Pauses::up_to(LONGEST);
        while !self.stop.is_cancelled() {
            self.state.send_replace(State::Connecting);
            let error = match self.connect().await {
                None => break,
                Some(Err(error)) => error,
                Some(Ok(mut session)) => {
                    tracing::info!(source = name, prefetch = self.prefetch, "taking messages");
                    self.state.send_replace(State::Taking);
                    let over = self.take(&mut session, &mut pauses).await;
                    if matches!(over, Over::Stopped) {
                        // What is under way still needs the connection.
                        self.under_way.close();
                        self.under_way.wait().await;
                    }
                    if timeout(PATIENCE, session.close()).await.is_err() {
                        tracing::warn!(
                            source = name,
                            "the connection does not close; left to itself"
                        );
                    }
                    match over {
                        Over::Stopped => break,
                        Over::Broken(error) => error,
                    }
                }
            };
            let pause = pauses.next();
            tracing::warn!(source = name, %error, ?pause, "no messages come; connecting again after a pause");
            self.stop.run_until_cancelled(sleep(pause)).await;
        }
        self.under_way.close();
        self.under_way.wait().await;
        self.state.send_replace(State::Stopped);
        tracing::info!(source = name, "stopped");
    }

    async fn connect(&self) -> Option<Result<S::Session, BrokerError>> {
        let connect = timeout(3 * PATIENCE, self.source.connect(self.prefetch));
        let connected = self.stop.run_until_cancelled(connect).await?;
        Some(connected.unwrap_or_else(|late| Err(BrokerError::new("broker", "connect", late))))
    }

    async fn take(&self, session: &mut S::Session, pauses: &mut Pauses) -> Over {
        loop {
            let Some(permit) = self.stop.run_until_cancelled(self.room()).await else {
                return Over::Stopped;
            };
            // This one's place, and those that are free besides.
            let room = 1 + self.room.available_permits();
            match self.stop.run_until_cancelled(session.next(room)).await {
                None => return Over::Stopped,
                Some(Err(error)) => return Over::Broken(error),
                Some(Ok(delivery)) => {
                    // A connection that brings messages is a good one: the next pause is a short
                    // one.
                    *pauses = Pauses::up_to(LONGEST);
                    // Decoded here, one after the other, because the order of arrival is the order
                    // of turns.
                    let one = Arc::clone(&self.work).one(delivery);
                    self.under_way.spawn(async move {
                        one.await;
                        drop(permit);
                    });
                }
            }
        }
    }

    /// A place for one message more, while messages can be recorded.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        while let Some(until) = self.work.gate.shut_until() {
            self.state.send_replace(State::Paused);
            sleep_until(until).await;
        }
        self.state.send_if_modified(|state| {
            let paused = *state == State::Paused;
            *state = State::Taking;
            paused
        });
        permit
    }
}
