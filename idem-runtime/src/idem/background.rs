//! The background thread: sweeps in small pieces, and finishes what dropped calls left behind.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::clock::BoxFuture;
use crate::idem::Inner;

/// How often it looks, and at how many settled records each time.
const PERIOD: Duration = Duration::from_secs(1);
const PIECE: usize = 1000;

pub(crate) struct Keeper {
    work: Mutex<Option<mpsc::UnboundedSender<Work>>>,
    ended: watch::Receiver<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the keeper does for calls.
enum Work {
    /// To be done before it ends.
    Finish(BoxFuture<'static, ()>),
    /// To be done while it lasts.
    Meanwhile(BoxFuture<'static, ()>),
}

impl Keeper {
    /// Starts the thread on a runtime of its own.
    pub(crate) fn start(runtime: Runtime, inner: Arc<Inner>) -> std::io::Result<Self> {
        let (work, to_do) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("idem-keeper".to_owned())
            .spawn(move || {
                runtime.block_on(keep(inner, to_do));
                end.send_replace(true);
            })?;
        Ok(Self {
            work: Mutex::new(Some(work)),
            ended,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Takes work over from a call that is gone: it is done before the keeper ends.
    pub(crate) fn finish(&self, work: BoxFuture<'static, ()>) {
        self.give(Work::Finish(work));
    }

    /// Does something beside a call, for as long as the keeper lasts.
    pub(crate) fn meanwhile(&self, work: BoxFuture<'static, ()>) {
        self.give(Work::Meanwhile(work));
    }

    fn give(&self, work: Work) {
        if let Some(keeper) = &*self.work.lock() {
            // It ends only after this sender is dropped.
            let _ = keeper.send(work);
        }
    }

    /// Ends it once what it took is done.
    pub(crate) async fn stop(&self) {
        self.work.lock().take();
        let mut ended = self.ended.clone();
        // An error means that the thread is gone, which is what is waited for.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// [`stop`](Self::stop) where nothing can be awaited.
    pub(crate) fn stop_and_wait(&self) {
        self.work.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

async fn keep(inner: Arc<Inner>, mut to_do: mpsc::UnboundedReceiver<Work>) {
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left_behind = JoinSet::new();
    loop {
        tokio::select! {
            work = to_do.recv() => match work {
                Some(Work::Finish(work)) => { left_behind.spawn(work); }
                // It goes with the runtime.
                Some(Work::Meanwhile(work)) => drop(tokio::spawn(work)),
                None => break,
            },
            _ = period.tick() => {
                inner.report_all_again().await;
                match inner.sweep(PIECE).await {
                    // Where much has expired there is more to find at once.
                    Ok(swept) if swept.removed > 0 && !swept.finished => period.reset_immediately(),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "the sweep will be tried again"),
                }
            }
            Some(_) = left_behind.join_next() => {}
        }
    }
    while left_behind.join_next().await.is_some() {}
    inner.report_all_again().await;
}
