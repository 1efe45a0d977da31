//! Runs a body once: catches its panic, stops it at its timeout, keeps its lease renewed.
//!
//! Nothing here knows the body's types, so that it is compiled once, and not once for each handler.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tracing::Span;

use super::attempt::{FRAME, Frame};
use super::blocking;
use super::claims::Lost;
use super::lease::Renewed;
use super::transaction::CarriedEnd;
use crate::call::panic;
use crate::clock::BoxFuture;
use crate::outbox::OutboxMessage;

/// How a body ended.
pub(super) enum BodyEnd {
    Returned,
    Panicked(String),
    TimedOut(Duration),
    /// Another process has its claim.
    LostLease,
}

/// What a body produces beside its result.
pub(super) struct Artifacts {
    /// `existing` found the result, so the body did not run.
    pub(super) found_existing: bool,
    /// The messages to record with the result.
    pub(super) outgoing: Vec<OutboxMessage>,
    /// Its transaction, to commit with the result. Dropped, it is rolled back.
    pub(super) carried: CarriedEnd,
}

/// Passes the failpoint inside the attempt, so that a test can ask which attempt it is.
#[cfg_attr(
    not(feature = "__failpoints"),
    expect(unused_variables, reason = "there is no point then")
)]
fn passes_the_point(frame: &Arc<Frame>) {
    #[cfg(feature = "__failpoints")]
    FRAME.sync_scope(Arc::clone(frame), || {
        crate::failpoint::point!(BODY);
    });
}

/// A body that runs.
pub(super) struct Run {
    frame: Arc<Frame>,
    span: Span,
    limit: Option<(Duration, BoxFuture<'static, ()>)>,
    renewed: Option<Renewed>,
}

impl Run {
    pub(super) fn new(
        frame: Arc<Frame>,
        timeout: Option<Duration>,
        renewed: Option<Renewed>,
        span: Span,
    ) -> Self {
        passes_the_point(&frame);
        let limit = timeout.map(|limit| (limit, frame.shared.clock.sleep(limit)));
        Self {
            frame,
            span,
            limit,
            renewed,
        }
    }

    /// Polls an async body. `body` returns whether it has returned.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        body: &mut dyn FnMut(&mut Context<'_>) -> bool,
    ) -> Poll<BodyEnd> {
        // What it still does would be done twice.
        if self.has_lost(context) {
            return Poll::Ready(BodyEnd::LostLease);
        }
        match self.inside(&mut || body(context)) {
            Ok(true) => return Poll::Ready(self.returned()),
            Ok(false) => self.frame.carried.drop_unasked(),
            Err(caught) => return Poll::Ready(BodyEnd::Panicked(panic::text(&*caught))),
        }
        match &mut self.limit {
            Some((limit, passed)) => passed
                .as_mut()
                .poll(context)
                .map(|()| BodyEnd::TimedOut(*limit)),
            None => Poll::Pending,
        }
    }

    /// Runs a sync body.
    pub(super) fn run_blocking(&self, body: &mut dyn FnMut()) -> BodyEnd {
        let mut body = || {
            body();
            true
        };
        match blocking::hold(|| self.inside(&mut body)) {
            Ok(_) => self.returned(),
            Err(caught) => BodyEnd::Panicked(panic::text(&*caught)),
        }
    }

    /// How a body ended that returned. One that knows that it lost its claim may have broken off.
    fn returned(&self) -> BodyEnd {
        match self.lost() {
            Some(lost) if lost.was_told() => BodyEnd::LostLease,
            _ => BodyEnd::Returned,
        }
    }

    /// Whether the claim has passed to another process.
    pub(super) fn has_lost(&self, context: &mut Context<'_>) -> bool {
        self.lost().is_some_and(|lost| lost.poll(context))
    }

    fn lost(&self) -> Option<&Lost> {
        self.renewed.as_ref().map(Renewed::lost)
    }

    /// Runs the body with its frame set.
    fn inside(&self, work: &mut dyn FnMut() -> bool) -> Result<bool, Box<dyn Any + Send>> {
        let _entered = self.span.enter();
        catch_unwind(AssertUnwindSafe(|| {
            FRAME.sync_scope(Arc::clone(&self.frame), work)
        }))
    }

    /// What it produced beside its result.
    pub(super) fn artifacts(&self) -> Artifacts {
        Artifacts {
            found_existing: self.frame.found_existing.load(Ordering::Relaxed),
            outgoing: std::mem::take(&mut *self.frame.outgoing.lock()),
            carried: self.frame.carried.end(),
        }
    }
}
