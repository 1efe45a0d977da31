//! What time alone does, in bounded pieces: reads look for it here, and the committer does it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Shared;
use super::job::Job;
use super::layout::{CLOSED_LETTER, LIVE, SETTLED, Slot};
use crate::ledger::{LedgerError, Swept};
use crate::protocol::{Change, Live, Record, RecordId, Reply, Step, decide};

const PAGE: usize = 256;

pub(super) async fn sweep(shared: &Arc<Shared>, settled: usize, retention: Duration) -> Result<Swept, LedgerError> {
    let mut swept = Swept::default();
    sweep_live(shared, &mut swept).await?;
    if settled > 0 {
        expire(shared, settled, retention, &mut swept).await?;
    }
    Ok(swept)
}

/// Every live record: there are as many as messages in work.
async fn sweep_live(shared: &Arc<Shared>, swept: &mut Swept) -> Result<(), LedgerError> {
    let mut after = vec![LIVE];
    loop {
        let keys = shared.with_store(|store| store.keys_after(LIVE, &after, PAGE))?;
        let mut waiting = Vec::new();
        for key in &keys {
            let live = match shared.with_store(|store| store.get::<Live>(key)) {
                Ok(live) => live,
                // One record that cannot be read must not keep the others from being swept.
                Err(error @ LedgerError::Record { .. }) => {
                    tracing::error!(%error, "a live record was passed over");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some((live, _)) = live else { continue };
            let id = RecordId { handler: live.handler.clone(), key: live.key.clone() };
            if shared.untouched_by_time(&id, live) {
                continue;
            }
            let (done, answer) = oneshot::channel();
            let job = Job::Step { slot: Slot::of(&id), id, step: Step::Sweep, done };
            waiting.push(shared.enqueue(job, answer));
        }
        for answer in waiting {
            if let Reply::Died(letter) = answer.answer().await? {
                swept.died.push(*letter);
            }
        }
        match keys.last() {
            Some(last) if keys.len() == PAGE => after.clone_from(last),
            _ => return Ok(()),
        }
    }
}

/// The next piece of what is settled.
async fn expire(
    shared: &Arc<Shared>,
    settled: usize,
    retention: Duration,
    swept: &mut Swept,
) -> Result<(), LedgerError> {
    let mut cursor = shared.cursor.lock().clone();
    let keys = shared.with_store(|store| {
        let mut keys = Vec::new();
        for kind in [SETTLED, CLOSED_LETTER] {
            // `s` sorts before `z`: one cursor walks both.
            if cursor.first().is_none_or(|at| *at <= kind) && keys.len() < settled {
                keys.extend(store.keys_after(kind, &cursor, settled - keys.len())?);
            }
        }
        Ok(keys)
    })?;
    swept.whole = keys.len() < settled;
    cursor = if swept.whole { Vec::new() } else { keys.last().cloned().unwrap_or_default() };
    *shared.cursor.lock() = cursor;
    if !keys.is_empty() {
        let (done, answer) = oneshot::channel();
        swept.expired = shared.enqueue(Job::Expire { keys, retention, done }, answer).answer().await?;
    }
    Ok(())
}

impl Shared {
    fn untouched_by_time(&self, id: &RecordId, live: Live) -> bool {
        decide(id, Some(Record::Live(live)), &Step::Sweep, &self.facts_for_reading()).record == Change::Keep
    }
}
