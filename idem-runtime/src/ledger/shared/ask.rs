//! Asks the store, once or until it answers.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::core::{Core, DEADLINE};
use super::store::{Store, StoreError};
use crate::clock::BoxFuture;
use crate::ledger::metrics;

/// The first pause before a store that is away is asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pin_project! {
    /// The future of [`Core::ask`]. As an `async fn` it would hold the call twice, and so would each that
    /// awaits it.
    pub(super) struct Ask<'c, S: Store, F> {
        core: &'c Core<S>,
        #[pin]
        call: F,
        deadline: Option<BoxFuture<'static, ()>>,
    }
}

impl<S: Store, F, T> Future for Ask<'_, S, F>
where
    F: Future<Output = Result<T, StoreError>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let core = *this.core;
        // A caller that stood still may find both.
        let answer = match this.call.poll(context) {
            Poll::Ready(answer) => answer,
            Poll::Pending => {
                let deadline = this
                    .deadline
                    .get_or_insert_with(|| core.clock().sleep(DEADLINE));
                ready!(deadline.as_mut().poll(context));
                Err(StoreError::lost("it did not answer in time"))
            }
        };
        core.note(&answer);
        Poll::Ready(answer)
    }
}

impl<S: Store> Core<S> {
    /// Waits for the store's answer, for a while.
    pub(super) fn ask<T, F>(&self, call: F) -> Ask<'_, S, F>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        Ask {
            core: self,
            call,
            deadline: None,
        }
    }

    /// Notes whether the store is in trouble.
    fn note<T>(&self, answer: &Result<T, StoreError>) {
        if let Err(error) = answer {
            metrics::store_failed(error.kind.as_str());
        }
        match answer {
            Err(error) if error.is_trouble() => {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.failures.store(0, Ordering::Relaxed),
        }
    }

    /// Asks the store again and again, until it answers or its caller's patience ends.
    pub(super) async fn ask_again<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let since = self.clock().now();
        loop {
            match self.ask(call()).await {
                Err(error) if error.may_pass() && !self.is_late(since) => self.pause().await,
                answer => return answer,
            }
        }
    }

    /// Waits before a store in trouble is asked again.
    pub(super) async fn pause(&self) {
        let failures = self.failures.load(Ordering::Relaxed).clamp(1, 8);
        let pause = (PAUSE * 2_u32.pow(failures - 1)).min(LONGEST_PAUSE);
        // Processes that lost the same server do not come back as one.
        self.clock()
            .sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0))
            .await;
    }
}
