//! Work that goes on when its client hangs up.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tracing::instrument::{Instrument, Instrumented};

/// A future that is awaited where its request is, and goes on in a task of its own if it is dropped
/// before it is ready. Most clients wait for their answers, so most requests need no task.
pub(crate) struct GoesOn<T: Send + 'static> {
    work: Option<Instrumented<BoxFuture<'static, T>>>,
    runtime: Handle,
}

impl<T: Send + 'static> GoesOn<T> {
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            work: Some(work.boxed().in_current_span()),
            runtime: Handle::current(),
        }
    }

    /// Drops the work.
    pub(crate) fn give_up(mut self) {
        self.work = None;
    }
}

impl<T: Send + 'static> Future for GoesOn<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Work that panics is not there to go on.
        let Some(mut work) = self.work.take() else {
            return Poll::Pending;
        };
        let polled = work.poll_unpin(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for GoesOn<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.runtime.spawn(work);
        }
    }
}
