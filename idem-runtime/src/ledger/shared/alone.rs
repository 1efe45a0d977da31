//! Steps that are asked for alone: their callers make them where they are, so that the store's answers
//! wake no other thread.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use super::core::Core;
use super::job::{Job, StepJob};
use super::round::{Left, Round};
use super::store::{Store, StoreError};
use crate::clock::BoxFuture;
use crate::idem::background::Background;
use crate::ledger::{LedgerError, check_keys};
use crate::protocol::{RecordId, Reply, Step};

impl<S: Store> Core<S> {
    /// Makes a step: with others, if others are under way.
    pub(super) async fn step(
        self: Arc<Self>,
        id: RecordId,
        step: Step,
    ) -> Result<Reply, LedgerError> {
        check_keys(step.notes())?;
        let (done, answer) = oneshot::channel();
        let job = StepJob::new(id, step, self.clock().now(), done);
        let counted = Counted::new(&self.steps);
        if counted.is_only && self.is_asked_here() {
            let background = self.context.background.clone();
            let work = Some(Arc::clone(&self).make(job).boxed());
            GoesOn { work, background }.await;
        } else {
            self.queue.push(Job::Step(job));
        }
        answer.await.unwrap_or_else(|_| Err(killed()))
    }

    /// Makes a step in rounds of its own. The committer makes it if something else waits, and goes on
    /// if the store is in trouble.
    async fn make(self: Arc<Self>, job: StepJob) {
        let Some(alone) = self.queue.alone(&job.id) else {
            return self.queue.push(Job::Step(job));
        };
        let mut jobs = vec![job];
        while !jobs.is_empty() {
            let Left { again, trouble } = Round::run(&self, jobs).await;
            jobs = again;
            if let Some(error) = trouble {
                self.give_up(&mut jobs, &error);
                break;
            }
        }
        // Before what waits for this step.
        self.queue.put_back(jobs.into_iter().map(Job::Step));
        drop(alone);
    }
}

/// Returns the error of a step whose committer was ended in the middle.
pub(super) fn killed() -> LedgerError {
    StoreError::lost("its background was ended").unavailable(true)
}

/// A step that counts as one of those under way.
struct Counted<'c> {
    count: &'c AtomicUsize,
    is_only: bool,
}

impl<'c> Counted<'c> {
    fn new(count: &'c AtomicUsize) -> Self {
        let is_only = count.fetch_add(1, Relaxed) == 0;
        Self { count, is_only }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}

/// Work whose caller may go away: it is then done on the background, as that of the committer is.
struct GoesOn {
    work: Option<BoxFuture<'static, ()>>,
    background: Background,
}

impl Future for GoesOn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(());
        };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl Drop for GoesOn {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.background.spawn(work);
        }
    }
}
