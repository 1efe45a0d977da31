//! Who makes room for the next connection: the one that has waited longest for a request.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The connections that wait for a request's head, in the order in which they came to wait.
#[derive(Default)]
pub(super) struct Seats {
    waiting: Mutex<Waiting>,
    /// Rung when one more waits.
    more: Notify,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    seats: BTreeMap<u64, Arc<Notify>>,
}

/// One connection's.
pub(super) struct Seat {
    seats: Arc<Seats>,
    /// Its place among those that wait, while it does.
    place: Mutex<Option<u64>>,
    wanted: Arc<Notify>,
}

/// A request that is worked on, until its answer is handed over.
pub(super) struct Working(Arc<Seat>);

impl Seats {
    pub(super) fn take(seats: &Arc<Self>) -> Arc<Seat> {
        let seat = Seat {
            seats: Arc::clone(seats),
            place: Mutex::default(),
            wanted: Arc::default(),
        };
        seat.wait();
        Arc::new(seat)
    }

    /// Tells the one that has waited longest that its seat is wanted.
    pub(super) fn free_one(&self) {
        if let Some((_, wanted)) = self.waiting.lock().seats.pop_first() {
            wanted.notify_one();
        }
    }

    pub(super) fn any_waits(&self) -> bool {
        !self.waiting.lock().seats.is_empty()
    }

    pub(super) async fn one_more_waits(&self) {
        self.more.notified().await;
    }
}

impl Seat {
    fn wait(&self) {
        let mut waiting = self.seats.waiting.lock();
        waiting.next += 1;
        let place = waiting.next;
        waiting.seats.insert(place, Arc::clone(&self.wanted));
        *self.place.lock() = Some(place);
        drop(waiting);
        self.seats.more.notify_one();
    }

    fn leave(&self) {
        let place = self.place.lock().take();
        if let Some(place) = place {
            self.seats.waiting.lock().seats.remove(&place);
        }
    }

    pub(super) fn work(self: &Arc<Self>) -> Working {
        self.leave();
        Working(Arc::clone(self))
    }

    pub(super) fn pass_on(&self) {
        self.seats.free_one();
    }

    pub(super) fn works(&self) -> bool {
        self.place.lock().is_none()
    }

    pub(super) async fn is_wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.wait();
    }
}

impl Working {
    pub(super) fn until_sent(self, body: Body) -> Sent {
        Sent {
            body,
            _working: self,
        }
    }
}

/// An answer's body; its connection works until it is handed over.
pub(super) struct Sent {
    body: Body,
    _working: Working,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
