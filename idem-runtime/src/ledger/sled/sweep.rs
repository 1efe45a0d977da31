//! What time alone does, in bounded pieces: reads look for it here, and the committer does it.

use std::sync::Arc;
use std::time::Duration;

use ::sled::IVec;
use tokio::sync::oneshot;

use super::job::Job;
use super::layout::{CLOSED_LETTER, LIVE, RecordKey};
use super::shared::Shared;
use super::store::PAGE;
use crate::ledger::{LedgerError, Swept, Waiting};
use crate::protocol::{Change, Live, Record, RecordId, Reply, Step, decide};

pub(super) async fn sweep(
    shared: &Arc<Shared>,
    settled: usize,
    retention: Duration,
) -> Result<Swept, LedgerError> {
    shared.open_again().await?;
    let mut swept = Swept::default();
    sweep_live(shared, &mut swept).await?;
    if settled > 0 {
        expire(shared, settled, retention, &mut swept).await?;
    }
    Ok(swept)
}

/// Returns every live record that is not a claim of this opening.
/// Claims of this opening are nothing that time touches.
async fn sweep_live(shared: &Arc<Shared>, swept: &mut Swept) -> Result<(), LedgerError> {
    let orphans = shared
        .running
        .read()
        .values()
        .filter(|claim| !claim.is_of(shared.session))
        .map(|claim| claim.live.id())
        .collect();
    bury(shared, orphans, swept).await?;
    let (mut after, mut waiting) = (IVec::default(), Waiting::default());
    loop {
        let keys = shared.with_store(|store| store.rows(&[LIVE], &after, PAGE))?;
        let mut touched = Vec::new();
        for (key, _) in &keys {
            let live = match shared.with_store(|store| store.get::<Live>(key)) {
                Ok(live) => live,
                // One record that cannot be read must not keep the others from being swept.
                Err(error @ LedgerError::Record { .. }) => {
                    tracing::error!(%error, "a live record was passed over");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(live) = live else { continue };
            waiting.extend(live.waits_since());
            let id = live.id();
            if !shared.untouched_by_time(&id, live) {
                touched.push(id);
            }
        }
        bury(shared, touched, swept).await?;
        match keys.into_iter().next_back() {
            Some((last, _)) => after = last,
            None => break,
        }
    }
    swept.waiting = Some(waiting);
    Ok(())
}

async fn bury(
    shared: &Arc<Shared>,
    touched: Vec<RecordId>,
    swept: &mut Swept,
) -> Result<(), LedgerError> {
    let waiting: Vec<_> = touched
        .into_iter()
        .map(|id| {
            let (done, answer) = oneshot::channel();
            shared.enqueue(
                Job::Step {
                    record_key: RecordKey::new(&id),
                    id,
                    step: Step::Sweep,
                    done,
                },
                answer,
            )
        })
        .collect();
    for answer in waiting {
        if let Reply::DeadLettered(letter) = answer.answer().await? {
            swept.dead_lettered.push(*letter);
        }
    }
    Ok(())
}

/// The next piece of what has expired.
async fn expire(
    shared: &Arc<Shared>,
    limit: usize,
    retention: Duration,
    swept: &mut Swept,
) -> Result<(), LedgerError> {
    let after = shared.cursor.lock().clone();
    let letters = shared.with_store(|store| store.rows(&[CLOSED_LETTER], &after, limit))?;
    let letters: Vec<_> = letters.into_iter().map(|(key, _)| key.to_vec()).collect();
    let all = letters.len() < limit;
    *shared.cursor.lock() = if all {
        Vec::new()
    } else {
        letters.last().cloned().unwrap_or_default()
    };
    let (done, answer) = oneshot::channel();
    let (expired, swept_clean) = shared
        .enqueue(
            Job::Expire {
                limit,
                letters,
                retention,
                done,
            },
            answer,
        )
        .answer()
        .await?;
    (swept.removed, swept.finished) = (expired, all && swept_clean);
    Ok(())
}

impl Shared {
    fn untouched_by_time(&self, id: &RecordId, live: Live) -> bool {
        decide(
            id,
            Some(Record::Live(live)),
            &Step::Sweep,
            &self.facts_for_reading(),
        )
        .record
            == Change::Keep
    }
}
