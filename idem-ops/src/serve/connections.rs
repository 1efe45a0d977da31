//! The open connections: the one that has been idle longest makes room for the next.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The idle connections, which wait for a request's head, longest first.
#[derive(Default)]
pub(super) struct Connections {
    idle: Mutex<Idle>,
    /// Notified when a connection becomes idle.
    more: Notify,
}

#[derive(Default)]
struct Idle {
    next: u64,
    connections: BTreeMap<u64, Arc<Notify>>,
}

/// One connection.
pub(super) struct Connection {
    all: Arc<Connections>,
    /// Its place among the idle ones, while it is idle.
    place: Mutex<Option<u64>>,
    /// Notified when it has to make room.
    evicted: Arc<Notify>,
}

/// A request in progress, until its answer is sent.
pub(super) struct ActiveRequest(Arc<Connection>);

impl Connections {
    /// Adds an idle connection.
    pub(super) fn add(all: &Arc<Self>) -> Arc<Connection> {
        let connection = Connection {
            all: Arc::clone(all),
            place: Mutex::default(),
            evicted: Arc::default(),
        };
        connection.set_idle();
        Arc::new(connection)
    }

    /// Tells the connection that has been idle longest to make room.
    pub(super) fn evict_one(&self) {
        if let Some((_, evicted)) = self.idle.lock().connections.pop_first() {
            evicted.notify_one();
        }
    }

    pub(super) fn any_idle(&self) -> bool {
        !self.idle.lock().connections.is_empty()
    }

    /// Waits until one more connection is idle.
    pub(super) async fn one_more_idle(&self) {
        self.more.notified().await;
    }
}

impl Connection {
    fn set_idle(&self) {
        let mut idle = self.all.idle.lock();
        idle.next += 1;
        let place = idle.next;
        idle.connections.insert(place, Arc::clone(&self.evicted));
        *self.place.lock() = Some(place);
        drop(idle);
        self.all.more.notify_one();
    }

    fn set_busy(&self) {
        let place = self.place.lock().take();
        if let Some(place) = place {
            self.all.idle.lock().connections.remove(&place);
        }
    }

    /// Starts a request.
    pub(super) fn start_request(self: &Arc<Self>) -> ActiveRequest {
        self.set_busy();
        ActiveRequest(Arc::clone(self))
    }

    /// Passes an eviction on to the next idle connection.
    pub(super) fn pass_on(&self) {
        self.all.evict_one();
    }

    pub(super) fn is_busy(&self) -> bool {
        self.place.lock().is_none()
    }

    /// Waits until the connection has to make room.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.set_busy();
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.set_idle();
    }
}

impl ActiveRequest {
    /// Keeps the request active until the body is sent.
    pub(super) fn until_sent(self, body: Body) -> ActiveBody {
        ActiveBody {
            body,
            _request: self,
        }
    }
}

/// An answer's body, which keeps its request active.
pub(super) struct ActiveBody {
    body: Body,
    _request: ActiveRequest,
}

impl HttpBody for ActiveBody {
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
