//! The background thread: sweeps in small pieces, and finishes what dropped calls left.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::clock::BoxFuture;
use crate::idem::shared::Shared;

/// How often it sweeps, and how many settled records each sweep visits.
const PERIOD: Duration = Duration::from_secs(1);
const PIECE: usize = 1000;

pub(crate) struct Background {
    tasks: Mutex<Option<mpsc::UnboundedSender<Task>>>,
    ended: watch::Receiver<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A task that a call hands over.
enum Task {
    /// Completed before the thread ends.
    Finish(BoxFuture<'static, ()>),
    /// Dropped when the thread ends.
    Detached(BoxFuture<'static, ()>),
}

impl Background {
    /// Starts the thread on a runtime of its own.
    pub(crate) fn start(runtime: Runtime, shared: Arc<Shared>) -> std::io::Result<Self> {
        let (tasks, received) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("idem-background".to_owned())
            .spawn(move || {
                runtime.block_on(run(shared, received));
                end.send_replace(true);
            })?;
        Ok(Self {
            tasks: Mutex::new(Some(tasks)),
            ended,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Runs a task to its end, also when the background is stopped.
    pub(crate) fn finish(&self, work: BoxFuture<'static, ()>) {
        self.give(Task::Finish(work));
    }

    /// Runs a task until the background is stopped.
    pub(crate) fn detach(&self, work: BoxFuture<'static, ()>) {
        self.give(Task::Detached(work));
    }

    fn give(&self, task: Task) {
        if let Some(tasks) = &*self.tasks.lock() {
            // The receiver lives until this sender is dropped.
            let _ = tasks.send(task);
        }
    }

    /// Waits until the tasks to finish are done, and ends the thread.
    pub(crate) async fn stop(&self) {
        self.tasks.lock().take();
        let mut ended = self.ended.clone();
        // An error means that the thread has ended.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// [`stop`](Self::stop) for code that cannot await.
    pub(crate) fn stop_and_wait(&self) {
        self.tasks.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

async fn run(shared: Arc<Shared>, mut received: mpsc::UnboundedReceiver<Task>) {
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left_behind = JoinSet::new();
    loop {
        tokio::select! {
            work = received.recv() => match work {
                Some(Task::Finish(work)) => { left_behind.spawn(work); }
                // The runtime drops it.
                Some(Task::Detached(work)) => drop(tokio::spawn(work)),
                None => break,
            },
            _ = period.tick() => {
                shared.report_all_again().await;
                match shared.sweep(PIECE).await {
                    // More records have expired than one sweep visits.
                    Ok(swept) if swept.removed > 0 && !swept.finished => period.reset_immediately(),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "the sweep will be tried again"),
                }
            }
            Some(_) = left_behind.join_next() => {}
        }
    }
    while left_behind.join_next().await.is_some() {}
    shared.report_all_again().await;
}
