//! One run of a body: caught when it panics, stopped when it takes too long, its lease renewed meanwhile.

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tracing::Instrument;

use super::attempt::{FRAME, Frame};
use super::drive::Held;
use crate::panic;
use crate::protocol::{RecordId, Reply, Step};

/// How a body ended.
pub(super) enum Ended<R> {
    Returned(R),
    Panicked(String),
    TimedOut(Duration),
}

/// Runs an async body once.
pub(super) async fn run<F: Future>(body: Pin<&mut F>, frame: Arc<Frame>, held: &Held) -> Ended<F::Output> {
    let span = span(&frame);
    let inner = Arc::clone(&frame.inner);
    let running = AssertUnwindSafe(FRAME.scope(frame, body)).catch_unwind().instrument(span);
    let limit = async {
        match held.timeout {
            Some(limit) => inner.clock.sleep(limit).await,
            None => pending().await,
        }
    };
    let (limit, renewals) = (pin!(limit), pin!(renew(held, &inner)));
    let beside = select(limit, renewals);
    match select(pin!(running), beside).await {
        Either::Left((Ok(result), _)) => Ended::Returned(result),
        Either::Left((Err(caught), _)) => Ended::Panicked(panic::text(&*caught)),
        Either::Right(_) => Ended::TimedOut(held.timeout.unwrap_or_default()),
    }
}

/// Runs a sync body once.
pub(super) fn run_blocking<R>(body: impl FnOnce() -> R, frame: Arc<Frame>) -> Ended<R> {
    let _entered = span(&frame).entered();
    match catch_unwind(AssertUnwindSafe(|| FRAME.sync_scope(frame, body))) {
        Ok(result) => Ended::Returned(result),
        Err(caught) => Ended::Panicked(panic::text(&*caught)),
    }
}

fn span(frame: &Frame) -> tracing::Span {
    let attempt = &frame.attempt;
    tracing::info_span!(
        "attempt",
        handler = &*attempt.handler,
        key = &*attempt.key,
        number = attempt.number,
        of = attempt.of
    )
}

/// Keeps the claim alive on a ledger that others share. It never ends: a body whose lease is lost cannot be taken back,
/// and its report will be refused.
async fn renew(held: &Held, inner: &Arc<crate::idem::Inner>) {
    if !inner.ledger.leases() {
        return pending().await;
    }
    loop {
        inner.clock.sleep(held.lease / 3).await;
        let step = Step::Renew { token: held.token, lease: held.lease };
        match inner.apply(&held.id, step).await {
            Ok(Reply::Recorded) => {}
            Ok(_) => {
                tracing::warn!(
                    handler = &*held.id.handler,
                    key = &*held.id.key,
                    "the lease was lost while the body ran"
                );
                return pending().await;
            }
            Err(error) => {
                tracing::warn!(%error, "the lease could not be renewed and will be tried again");
            }
        }
    }
}

impl Held {
    pub(super) fn frame(&self, inner: &Arc<crate::idem::Inner>) -> Arc<Frame> {
        Arc::new(Frame {
            attempt: super::Attempt {
                number: self.number,
                of: self.of,
                handler: Arc::clone(&self.id.handler),
                key: Arc::clone(&self.id.key),
                token: self.token,
            },
            inner: Arc::clone(inner),
            found_existing: false.into(),
            outer: Frame::current(),
        })
    }

    pub(super) fn new(id: RecordId, token: u64, number: u32, handler: &'static crate::handler::Handler) -> Self {
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
