//! The task that makes the steps of this process that are not asked for alone, one batch after the
//! other. A batch is what was asked for while the one before was written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::job::{Job, NotesJob};
use super::queue::Batch;
use super::round::{Left, Round};
use super::store::{Store, StoreError, StoreErrorKind};

/// How long callers are waited for at most.
const GATHERING: Duration = Duration::from_millis(1);

/// Works until the ledger is closed and no job waits.
pub(super) async fn run<S: Store>(core: Arc<Core<S>>) {
    let _guard = Guard(&*core);
    while let Some(batch) = core.queue.take(core.clock()).await {
        let (start, mut answered) = (Instant::now(), 0);
        match batch {
            Batch::Steps(jobs) => {
                let Left {
                    mut again,
                    trouble,
                    wrote,
                } = Round::run(&core, jobs).await;
                if let Some(error) = &trouble {
                    let late = again.extract_if(.., |job| core.is_late(job.since));
                    late.for_each(|job| {
                        core.own.doubt(&job.id);
                        job.give_up(error);
                    });
                }
                answered = wrote;
                core.queue.put_back(again.into_iter().map(Job::Step));
                if trouble.is_some() {
                    core.pause().await;
                }
            }
            Batch::Notes(job) => notes(&core, job).await,
        }
        // A small part of what a batch takes, if none of them has a next step.
        let most = (start.elapsed() / 8).min(GATHERING);
        core.queue.gather(answered, most).await;
    }
    if core.own.is_empty() && core.queue.is_none_alone() {
        // Others need not wait for the lease of a process that holds nothing.
        let runner = core.life.lock().runner.clone();
        let _ = core.ask(core.store.retire(&runner, None)).await;
    }
    core.store.close().await;
}

async fn notes<S: Store>(core: &Core<S>, job: NotesJob) {
    if job.changes.is_empty() && job.expected.is_empty() {
        return drop(job.done.send(Ok(true)));
    }
    let write = core
        .store
        .write_notes(job.changes.clone(), job.expected.clone());
    match core.ask(write).await {
        Err(error) if error.kind == StoreErrorKind::Away && !core.is_late(job.since) => {
            core.queue.put_back([Job::Notes(job)].into_iter());
            core.pause().await;
        }
        answer => drop(job.done.send(answer.map_err(StoreError::of_a_write))),
    }
}

/// Ends the ledger when the task ends, also when it is dropped.
struct Guard<'c, S: Store>(&'c Core<S>);

impl<S: Store> Drop for Guard<'_, S> {
    fn drop(&mut self) {
        self.0.queue.end();
        self.0.ended.send_replace(true);
    }
}
