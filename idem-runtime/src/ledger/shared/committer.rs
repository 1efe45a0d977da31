//! The task that makes the steps of this process that are not asked for alone, in rounds. A round is
//! what was asked for while others were written.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::core::Core;
use super::job::{Job, NotesJob, StepJob};
use super::queue::Batch;
use super::round::{Left, Round};
use super::store::{Store, StoreError, StoreErrorKind};

/// How many rounds are under way beside each other. With one, most callers wait for two commits a step:
/// the one that is under way, and their own.
const ROUNDS: usize = 4;

/// Works until the ledger is closed and no job waits.
pub(super) async fn run<S: Store>(core: Arc<Core<S>>) {
    let _guard = Guard(&*core);
    let (mut rounds, mut is_empty) = (FuturesUnordered::new(), false);
    // Once no job is left, the closing waits for no pause.
    let mut pauses = FuturesUnordered::new();
    while !is_empty || !rounds.is_empty() {
        let may_begin = !is_empty && rounds.len() + pauses.len() < ROUNDS;
        tokio::select! {
            Some(is_in_trouble) = rounds.next() => {
                // A round may leave jobs.
                is_empty = false;
                if is_in_trouble {
                    pauses.push(core.pause());
                }
            }
            Some(()) = pauses.next() => {}
            batch = core.queue.take(core.clock()), if may_begin => match batch {
                Some(Batch::Steps(jobs)) => rounds.push(round(&core, jobs)),
                Some(Batch::Notes(job)) => notes(&core, job).await,
                None => is_empty = true,
            }
        }
    }
    if core.own.is_empty() && core.queue.is_none_alone() {
        // Others need not wait for the lease of a process that holds nothing.
        let runner = core.life.lock().runner.clone();
        let _ = core.ask(core.store.retire(&runner, None)).await;
    }
    core.store.close().await;
}

/// Makes a round. Returns whether the store is in trouble.
async fn round<S: Store>(core: &Arc<Core<S>>, jobs: Vec<StepJob>) -> bool {
    let ids: Vec<_> = jobs.iter().map(|job| job.id.clone()).collect();
    let Left { mut again, trouble } = Round::run(core, jobs).await;
    if let Some(error) = &trouble {
        core.give_up(&mut again, error);
    }
    core.queue.round_ended(&ids, again);
    trouble.is_some()
}

async fn notes<S: Store>(core: &Core<S>, job: NotesJob) {
    if job.changes.is_empty() && job.expected.is_empty() {
        return drop(job.done.send(Ok(true)));
    }
    let write = core
        .store
        .write_notes(job.changes.clone(), job.expected.clone());
    match core.ask(write).await {
        Err(StoreError {
            kind: StoreErrorKind::Away | StoreErrorKind::Stopped,
            ..
        }) if !core.is_late(job.since) => {
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
