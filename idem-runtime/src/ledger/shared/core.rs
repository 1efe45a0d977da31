//! What the tasks of a shared ledger have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::guess::Guess;
use super::job::StepJob;
use super::numbers::Numbers;
use super::own::Own;
use super::queue::Queue;
use super::runner::Life;
use super::store::{Store, StoreError, StoreErrorKind};
use super::waiters::Waiters;
use crate::call::wait::is_blocked;
use crate::clock::{BoxFuture, Clock, after, until};
use crate::ledger::{Context, LedgerError};

/// How long a store may take to answer one call.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// How long a caller waits for a store that is in trouble.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often a step may be overtaken by other processes.
pub(super) const MOST_OVERTAKEN: u32 = 20;

pub(super) struct Core<S> {
    pub(super) store: S,
    pub(super) context: Context,
    pub(super) lease: Duration,
    pub(super) queue: Queue,
    /// The steps that are asked for and not answered.
    pub(super) steps: AtomicUsize,
    pub(super) own: Own,
    pub(super) guess: Guess,
    pub(super) numbers: Numbers,
    pub(super) life: Mutex<Life>,
    /// One beat at a time.
    pub(super) beating: tokio::sync::Mutex<()>,
    pub(super) waiters: Waiters,
    pub(super) letter_ids: Mutex<uuid::ContextV7>,
    /// Whether the committer has ended.
    pub(super) ended: watch::Sender<bool>,
    /// Not before then are the messages that wait counted again.
    pub(super) count_again: Mutex<Instant>,
    time: Mutex<Told>,
    /// The calls that failed since the last one that did not.
    pub(super) failures: AtomicU32,
}

/// The store's time, when it was told last.
#[derive(Clone, Copy)]
struct Told {
    time: Timestamp,
    /// When it was asked for, by the clock.
    at: Timestamp,
}

impl<S: Store> Core<S> {
    pub(super) fn new(store: S, context: Context, lease: Duration) -> Self {
        let now = context.clock.now();
        Self {
            store,
            lease,
            queue: Queue::default(),
            steps: AtomicUsize::new(0),
            own: Own::default(),
            guess: Guess::default(),
            numbers: Numbers::default(),
            life: Mutex::new(Life::first(&context.instance)),
            beating: tokio::sync::Mutex::default(),
            waiters: Waiters::default(),
            letter_ids: Mutex::new(uuid::ContextV7::new()),
            ended: watch::Sender::new(false),
            count_again: Mutex::new(Instant::now()),
            time: Mutex::new(Told {
                time: Timestamp::MIN,
                at: now,
            }),
            failures: AtomicU32::new(0),
            context,
        }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.context.clock
    }

    /// Does something where it is called, so that the store's answers wake the caller and no other
    /// thread; on the background if no runtime is there.
    pub(super) fn here<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, LedgerError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, LedgerError>> {
        if *self.ended.borrow() {
            return Box::pin(std::future::ready(Err(LedgerError::Closed)));
        }
        if self.is_asked_here() {
            Box::pin(work)
        } else {
            let done = self.context.background.run(work);
            Box::pin(done.map(|done| done?))
        }
    }

    /// Returns whether the store can be asked where this is called.
    pub(super) fn is_asked_here(&self) -> bool {
        let works = |runtime: Handle| self.store.works_on(&runtime);
        !is_blocked() && Handle::try_current().is_ok_and(works)
    }

    /// Asks the store for what all calls of the process need, on the background: the others would wait
    /// for a caller whose runtime stands still.
    pub(super) async fn elsewhere<T: Send + 'static, F>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let done = self.context.background.run(work(Arc::clone(self))).await;
        done.unwrap_or_else(|closed| {
            Err(StoreError::new(StoreErrorKind::Refused, closed.to_string()))
        })
    }

    /// Notes the store's time of an answer to a call that was made at `asked`, by the clock.
    pub(super) fn told(&self, time: Timestamp, asked: Timestamp) {
        let mut told = self.time.lock();
        // Answers may overtake one another.
        if time >= told.time {
            // Time counts from the call, so that it is never behind the store's: a claim must not
            // lapse before its holder believes that it does.
            *told = Told { time, at: asked };
        }
    }

    /// Returns the store's time, as far as it is known without asking.
    pub(super) fn now(&self) -> Timestamp {
        let Told { time, at } = *self.time.lock();
        after(time, until(self.clock().now(), at))
    }

    /// Returns whether the patience of a caller has ended.
    pub(super) fn is_late(&self, since: Timestamp) -> bool {
        until(self.clock().now(), since) >= PATIENCE
    }

    /// Gives up what need not wait for the end of the trouble, or has waited long enough.
    pub(super) fn give_up(&self, jobs: &mut Vec<StepJob>, trouble: &StoreError) {
        let is_stopped = trouble.kind == StoreErrorKind::Stopped;
        if trouble.kind != StoreErrorKind::Lost {
            // A store that went on without what it lost refuses those of before.
            self.numbers.forget();
        }
        let given_up = jobs.extract_if(.., |job| {
            self.is_late(job.since) || (is_stopped && job.begins())
        });
        given_up.for_each(|job| {
            self.own.doubt(&job.id);
            job.give_up(trouble);
        });
    }

    /// Runs a task until the ledger has ended.
    pub(super) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut ended = self.ended.subscribe();
        self.context.background.spawn(async move {
            tokio::select! {
                () = task => {}
                _ = ended.wait_for(|ended| *ended) => {}
            }
        });
    }
}

impl StoreError {
    pub(super) fn lost(message: &str) -> Self {
        Self::new(StoreErrorKind::Lost, message)
    }

    /// Returns whether the same request may succeed later.
    pub(super) fn is_trouble(&self) -> bool {
        self.may_pass() || self.kind == StoreErrorKind::Stopped
    }

    /// Returns whether the same request may succeed in a moment.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Away | StoreErrorKind::Lost)
    }

    pub(super) fn unavailable(&self, maybe_written: bool) -> LedgerError {
        LedgerError::Unavailable {
            message: self.message.clone(),
            maybe_written,
            source: self.source.clone(),
        }
    }

    /// Returns the error of a write that was not repeated.
    pub(super) fn of_a_write(self) -> LedgerError {
        let maybe_written = self.kind == StoreErrorKind::Lost;
        self.with(maybe_written)
    }

    /// Returns the error of a request that writes nothing.
    pub(super) fn of_a_read(self) -> LedgerError {
        self.with(false)
    }

    fn with(self, maybe_written: bool) -> LedgerError {
        match self.kind {
            StoreErrorKind::Refused => LedgerError::Refused {
                message: self.message,
                source: self.source,
            },
            _ => self.unavailable(maybe_written),
        }
    }
}

impl From<StoreError> for LedgerError {
    /// Converts the error of a store that is opened.
    fn from(error: StoreError) -> Self {
        error.of_a_read()
    }
}
