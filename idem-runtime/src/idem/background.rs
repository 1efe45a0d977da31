//! Idem's own thread: it finishes what dropped calls leave, and does the I/O of a ledger over a
//! network, whatever the threads of the callers are doing.

use std::fmt;
use std::future::Future;
use std::io;
use std::thread::JoinHandle;

use futures_util::future::OptionFuture;
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::clock::BoxFuture;
use crate::ledger::LedgerError;

/// A handle to idem's own thread, on which a tokio runtime with I/O and timers runs. A clone is
/// another handle to it.
///
/// A call may come from any executor, or from a thread that blocks in a sync handler: what a ledger
/// polls here goes on all the same.
#[derive(Clone)]
pub struct Background {
    tasks: mpsc::UnboundedSender<Task>,
}

/// A task that is handed over.
enum Task {
    /// Completed before the thread ends.
    Finish(BoxFuture<'static, ()>),
    /// Dropped when the thread ends.
    Detached(BoxFuture<'static, ()>),
    /// Completed after those to finish; then the thread ends.
    Last(BoxFuture<'static, ()>),
}

impl Background {
    /// Runs a future on the background, until the [`Idem`](crate::Idem) is closed. What awaits its
    /// output may stop waiting: the future runs on.
    ///
    /// # Errors
    /// [`LedgerError::Closed`] when the Idem was closed before its end, or when it panicked.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, LedgerError>> {
        let (done, output) = oneshot::channel();
        self.spawn(async move {
            // The caller may have gone away.
            let _ = done.send(work.await);
        });
        Box::pin(async move { output.await.map_err(|_| LedgerError::Closed) })
    }

    /// Runs a future on the background, until the [`Idem`](crate::Idem) is closed.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.give(Task::Detached(Box::pin(work)));
    }

    /// Runs a task to its end, also when the Idem is closed.
    pub(crate) fn finish(&self, work: BoxFuture<'static, ()>) {
        self.give(Task::Finish(work));
    }

    fn give(&self, task: Task) {
        // After the thread's end there is no receiver, and the task is dropped.
        let _ = self.tasks.send(task);
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

/// The thread of a [`Background`]. It ends when this is dropped.
pub(crate) struct BackgroundThread {
    handle: Background,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl BackgroundThread {
    /// Starts the thread with a runtime of its own, which is made there: tokio panics when one is
    /// dropped inside of another.
    pub(crate) fn start(enable: fn(&mut Builder) -> &mut Builder) -> io::Result<Self> {
        let (tasks, received) = mpsc::unbounded_channel();
        let (started, starting) = std::sync::mpsc::sync_channel(1);
        let work = move || match enable(&mut Builder::new_current_thread()).build() {
            Ok(runtime) => {
                // `start` waits for it.
                let _ = started.send(Ok(()));
                runtime.block_on(run(received));
                // A blocking task that hangs, such as a look-up of a name, holds nothing up.
                runtime.shutdown_background();
            }
            Err(error) => drop(started.send(Err(error))),
        };
        let thread = std::thread::Builder::new()
            .name("idem-background".to_owned())
            .spawn(work)?;
        starting.recv().map_err(io::Error::other)??;
        Ok(Self {
            handle: Background { tasks },
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(crate) fn handle(&self) -> &Background {
        &self.handle
    }

    /// Waits until the tasks to finish are done and then `last` is, and ends the thread. Returns
    /// what `last` came to, or `None` if the thread had ended before.
    pub(crate) async fn stop<T: Send + 'static>(
        &self,
        last: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, output) = oneshot::channel();
        self.handle.give(Task::Last(Box::pin(async move {
            let _ = done.send(last.await);
        })));
        output.await.ok()
    }

    /// [`stop`](Self::stop) for code that cannot await.
    pub(crate) fn stop_and_wait(&self, last: BoxFuture<'static, ()>) {
        self.handle.give(Task::Last(last));
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        // A task of the thread itself may drop the last handle, and does not wait for its own end.
        if thread.thread().id() != std::thread::current().id() {
            // A panic of the thread was printed.
            let _ = thread.join();
        }
    }
}

impl Drop for BackgroundThread {
    fn drop(&mut self) {
        // A ledger's own tasks hold handles, so the channel alone would not end it.
        self.handle.give(Task::Last(Box::pin(async {})));
    }
}

async fn run(mut received: mpsc::UnboundedReceiver<Task>) {
    let mut to_finish = JoinSet::new();
    let mut last = None;
    loop {
        let ends = last.is_some() && to_finish.is_empty();
        tokio::select! {
            task = received.recv() => match task {
                Some(Task::Finish(work)) => drop(to_finish.spawn(work)),
                // The runtime drops it. Until then, what is to be finished may wait for it.
                Some(Task::Detached(work)) => drop(tokio::spawn(work)),
                Some(Task::Last(work)) => _ = last.get_or_insert(work),
                None => return,
            },
            Some(_) = to_finish.join_next() => {}
            Some(()) = OptionFuture::from(last.as_mut()), if ends => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join;

    use super::*;

    #[tokio::test]
    async fn a_task_to_finish_may_need_the_background_after_the_stop() {
        let thread = BackgroundThread::start(Builder::enable_all).unwrap();
        let (background, (stopped, seen)) = (thread.handle().clone(), oneshot::channel());
        thread.handle().finish(Box::pin(async move {
            seen.await.unwrap();
            background.run(async {}).await.unwrap();
        }));
        let stop = thread.stop(async { 7 });
        let ended = join(stop, async { stopped.send(()) });
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        assert_eq!(ended.expect("it hangs").0, Some(7));
    }
}
