//! The state of a consumer, for the service that runs it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// The state of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It has no connection.
    Connecting,
    /// It takes messages.
    Taking,
    /// It holds messages of these handlers, which are [paused](idem_runtime::pause), by name. Messages
    /// of others are taken while there is room.
    Holding(Vec<String>),
    /// It has a connection, but takes no messages for a while, because nothing can be recorded.
    Paused,
    /// It was stopped.
    Stopped,
}

/// What a consumer's state is made of.
#[derive(Debug, Clone)]
pub(super) struct Status(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Mutex<Parts>,
    state: watch::Sender<State>,
}

#[derive(Debug)]
struct Parts {
    /// The state without the handlers that are paused.
    receiver: State,
    /// How many messages wait for the end of a handler's pause.
    waiting: BTreeMap<String, usize>,
}

/// A message that waits for the end of a handler's pause.
#[derive(Debug)]
pub(super) struct Waits {
    status: Status,
    handler: String,
}

impl Status {
    pub(super) fn new() -> Self {
        let parts = Parts {
            receiver: State::Connecting,
            waiting: BTreeMap::new(),
        };
        Self(Arc::new(Inner {
            parts: Mutex::new(parts),
            state: watch::Sender::new(State::Connecting),
        }))
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }

    /// Sets what the receiver does.
    pub(super) fn set(&self, receiver: State) {
        self.change(|parts| parts.receiver = receiver);
    }

    /// Names the handler in the state until the returned value is dropped.
    pub(super) fn waits(&self, handler: &str) -> Waits {
        self.change(|parts| *parts.waiting.entry(handler.to_owned()).or_default() += 1);
        Waits {
            status: self.clone(),
            handler: handler.to_owned(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        // Sent under the lock, so that the last change is the last one that is seen.
        let mut parts = self.0.parts.lock();
        change(&mut parts);
        let next = match &parts.receiver {
            State::Taking if !parts.waiting.is_empty() => {
                State::Holding(parts.waiting.keys().cloned().collect())
            }
            receiver => receiver.clone(),
        };
        self.0.state.send_if_modified(|state| {
            let changes = *state != next;
            *state = next;
            changes
        });
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let handler = &self.handler;
        self.status.change(|parts| {
            if let Some(waiting) = parts.waiting.get_mut(handler) {
                *waiting -= 1;
                if *waiting == 0 {
                    parts.waiting.remove(handler);
                }
            }
        });
    }
}
