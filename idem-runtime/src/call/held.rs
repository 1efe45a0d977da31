//! A claim that was granted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::{Attempt, Frame};
use crate::handler::Handler;
use crate::idem::Inner;
use crate::protocol::RecordId;

/// The right to run the body once.
pub(super) struct Held {
    pub(super) id: RecordId,
    pub(super) token: u64,
    pub(super) number: u32,
    pub(super) of: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) lease: Duration,
    pub(super) started: Instant,
}

impl Held {
    pub(super) fn frame(&self, inner: &Arc<Inner>, blocking: bool) -> Arc<Frame> {
        Arc::new(Frame {
            attempt: Attempt {
                number: self.number,
                of: self.of,
                handler: Arc::clone(&self.id.handler),
                key: Arc::clone(&self.id.key),
                token: self.token,
            },
            inner: Arc::clone(inner),
            blocking,
            found_existing: false.into(),
            outer: Frame::current(),
        })
    }

    pub(super) fn new(id: RecordId, token: u64, number: u32, handler: &'static Handler) -> Self {
        Self {
            id,
            token,
            number,
            of: handler.retries.saturating_add(1),
            timeout: handler.timeout,
            lease: handler.lease,
            started: Instant::now(),
        }
    }
}
