//! The attempt that a body runs in, as the body sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::claims::Lost;
use super::on_behalf;
use super::transaction::Carried;
use crate::idem::shared::Shared;
use crate::outbox::OutboxMessage;
use crate::protocol::RecordId;
use crate::trace::TraceContext;

/// The attempt that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// From 1, counted across restarts.
    pub number: u32,
    /// The most attempts there are.
    pub of: u32,
    /// The handler's name in the ledger.
    pub handler: Arc<str>,
    /// The idempotency key, its parts encoded.
    pub key: Arc<str>,
    /// The fencing token: a later attempt of the key has a larger one. Hand it to a store that
    /// refuses older ones ([how to do distributed locking], "Making the lock safe with fencing").
    ///
    /// [how to do distributed locking]: https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html
    pub token: u64,
    /// `None` where there are no leases to lose.
    pub(super) lost: Option<Lost>,
}

impl Attempt {
    /// Returns whether the claim has passed to another process, as far as this one knows: the body
    /// took longer than the lease could be renewed, or the ledger was out of reach for as long.
    /// What the body still does is done twice, and its result will not count.
    ///
    /// An async body is cancelled at its `.await`; a sync one asks, and returns. Once it was told
    /// so, its result is not recorded.
    ///
    /// ```
    /// # fn next_page() -> Option<u32> { None }
    /// # fn import() -> Result<(), idem_runtime::Error> {
    /// while let Some(page) = next_page() {
    ///     if idem_runtime::attempt().is_some_and(|attempt| attempt.lost()) {
    ///         break; // another process does it now
    ///     }
    ///     // …
    /// }
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> bool {
        self.lost.as_ref().is_some_and(Lost::tell)
    }
}

/// Returns the attempt that this code runs in, or `None` outside of a handler's body and in tasks
/// and threads that the body spawned.
///
/// It is `None` in a body that was given [many messages](crate::one), each of which has an attempt of
/// its own.
///
/// ```
/// assert_eq!(idem_runtime::attempt(), None);
/// ```
pub fn attempt() -> Option<Attempt> {
    FRAME
        .try_with(|frame| frame.attempt().cloned())
        .ok()
        .flatten()
}

tokio::task_local! {
    pub(super) static FRAME: Arc<Frame>;
}

/// What a running body is given.
#[derive(Debug)]
pub(super) enum Given {
    /// The message of one attempt.
    One(Attempt),
    /// Those of many, each in an attempt of its own.
    Many(Vec<RecordId>),
}

/// A running body, and the body it was called from.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(super) given: Given,
    pub(super) shared: Arc<Shared>,
    /// The body is a sync one, so waiting in it holds its thread.
    pub(super) blocking: bool,
    pub(super) found_existing: AtomicBool,
    /// The messages recorded together with the result.
    pub(super) outgoing: Mutex<Vec<OutboxMessage>>,
    pub(super) carried: Carried,
    /// The trace that came with the call.
    pub(super) trace: Option<Arc<TraceContext>>,
    pub(super) outer: Option<Arc<Frame>>,
}

impl Frame {
    pub(crate) fn current() -> Option<Arc<Frame>> {
        FRAME.try_with(Arc::clone).ok()
    }

    /// The frame of a body that is given many messages.
    pub(super) fn of_many(shared: Arc<Shared>, messages: Vec<RecordId>) -> Self {
        Self {
            given: Given::Many(messages),
            shared,
            blocking: false,
            found_existing: AtomicBool::new(false),
            outgoing: Mutex::default(),
            carried: Carried::default(),
            trace: None,
            outer: Self::current(),
        }
    }

    /// Its attempt, if it is of one.
    pub(super) fn attempt(&self) -> Option<&Attempt> {
        match &self.given {
            Given::One(attempt) => Some(attempt),
            Given::Many(_) => None,
        }
    }

    fn is_given(&self, id: &RecordId) -> bool {
        match &self.given {
            Given::One(attempt) => attempt.handler == id.handler && attempt.key == id.key,
            Given::Many(messages) => messages.contains(id),
        }
    }
}

/// Whether this code runs in the body of that very message, at any depth.
pub(super) fn runs_inside(shared: &Arc<Shared>, id: &RecordId) -> bool {
    any_frame(|at| Arc::ptr_eq(&at.shared, shared) && at.is_given(id))
}

/// Whether this code runs in a sync body, at any depth.
pub(super) fn inside_a_sync_body() -> bool {
    any_frame(|at| at.blocking)
}

fn any_frame(is: impl Fn(&Frame) -> bool) -> bool {
    let mut frame = Frame::current();
    while let Some(at) = frame {
        if is(&at) {
            return true;
        }
        frame = at.outer.clone();
    }
    false
}

/// Returns the trace that came with the call whose body this code runs in, else that of the letter
/// on whose behalf it runs.
pub(crate) fn trace() -> Option<Arc<TraceContext>> {
    match FRAME.try_with(|frame| frame.trace.clone()) {
        Ok(trace) => trace,
        Err(_) => on_behalf::redriving().and_then(|redriving| redriving.trace.clone()),
    }
}

/// Hands the running attempt a message to record with its result. Returns whether an attempt of this
/// Idem is running.
pub(crate) fn enqueue(shared: &Arc<Shared>, mut message: OutboxMessage) -> bool {
    let push = |frame: &Arc<Frame>| {
        let ours = Arc::ptr_eq(&frame.shared, shared) && frame.attempt().is_some();
        if ours {
            message.hand_on(frame.trace.as_deref());
            frame.outgoing.lock().push(message);
        }
        ours
    };
    FRAME.try_with(push).unwrap_or(false)
}

/// Tells the running attempt that its result was found, as in the business table, and is not of a
/// run: the attempt is counted as `existing`. Outside of a body it does nothing.
///
/// The attribute's `existing` calls it; the body of a [`HandlerCall`](crate::HandlerCall) may.
///
/// ```
/// # async fn find_order(order_no: &str) -> Result<Option<u32>, idem_runtime::Error> { Ok(None) }
/// # async fn insert_order(order_no: &str) -> Result<u32, idem_runtime::Error> { Ok(200) }
/// # async fn run(idem: &idem_runtime::Idem, place_order: &idem_runtime::HandlerDef) -> Result<(), idem_runtime::Error> {
/// let place = async || {
///     if let Some(total) = find_order("A-1001").await? {
///         idem_runtime::found_existing();
///         return Ok(total);
///     }
///     insert_order("A-1001").await
/// };
/// # let total: Result<u32, idem_runtime::Error> =
/// idem.run(place_order, "A-1001", &2, place).await
/// # ; total.map(drop) }
/// ```
pub fn found_existing() {
    // Outside an attempt there is no frame to mark.
    let _ = FRAME.try_with(|frame| frame.found_existing.store(true, Ordering::Relaxed));
}
