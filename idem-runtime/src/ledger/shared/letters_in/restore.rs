//! Letters on their way back from the second ledger.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use super::super::plan::first_write;
use super::super::store::{
    LetterWrite, Owner, Row, Runner, Store, StoreError, StoreErrorKind, Write,
};
use super::keep::dead_as;
use super::{Kept, LONGEST, LettersIn, PAGE, unkept};
use crate::ledger::{Filter, LedgerError, NoteChange};
use crate::protocol::{DeadLetterId, Record, RecordId, unnotified_key};

/// How long the runner may take that puts letters back.
const LEASE: Duration = Duration::from_secs(30);

/// How far the letters are put back.
#[derive(Debug)]
pub(super) struct Restoring {
    /// Whether some may be missing in the store.
    is_due: bool,
    /// The key behind which the next ones begin.
    after: Option<String>,
    /// Whether there were some whose messages are running.
    has_skipped: bool,
    /// The newest letter that the store was seen to have.
    newest: Option<DeadLetterId>,
}

impl Default for Restoring {
    fn default() -> Self {
        Self {
            is_due: true,
            after: None,
            has_skipped: false,
            newest: None,
        }
    }
}

/// What a row says of a letter that the second ledger has.
enum Place {
    /// It is there.
    Taken,
    /// It is put back, over the row of this version.
    Free(Option<u64>),
    /// Its message is running.
    Running,
    /// Its message was settled otherwise.
    Past,
}

impl<S: Store> LettersIn<S> {
    /// Does what is due between the ledgers. A sweep goes on without it.
    pub(super) async fn catch_up(&self) {
        let catching_up = timeout(LONGEST, async {
            self.keep_all().await?;
            self.look_for_loss().await?;
            self.restore_some().await
        });
        match catching_up.await {
            Ok(Ok(_)) => self.is_said.store(false, Ordering::Relaxed),
            // Where there is much to put back, the next sweep goes on.
            Err(_) => {}
            Ok(Err(error)) => {
                if !self.is_said.swap(true, Ordering::Relaxed) {
                    tracing::warn!("dead letters wait for their second ledger: {error:#}");
                }
            }
        }
    }

    /// Looks whether the store went back: its newest letter is older than it was.
    async fn look_for_loss(&self) -> Result<(), StoreError> {
        let newest = Filter::default().any_state().limit(1);
        let newest = self.store.letters(newest).await?;
        let newest = newest.first().map(|letter| letter.id);
        let mut restoring = self.restoring.lock();
        if newest < restoring.newest {
            (restoring.is_due, restoring.after) = (true, None);
        }
        restoring.newest = newest;
        Ok(())
    }

    /// Puts a page of letters back that the store lacks. Returns whether there may be more.
    pub(super) async fn restore_some(&self) -> Result<bool, StoreError> {
        let after = {
            let restoring = self.restoring.lock();
            if !restoring.is_due {
                return Ok(false);
            }
            restoring.after.clone()
        };
        let notes = self.second.notes(&self.prefix, after.as_deref(), PAGE);
        let notes = notes.await.map_err(unkept)?;
        let kept = notes.iter().map(|note| Kept::decode(&note.value));
        let has_skipped = self.put_back(kept.collect::<Result<_, _>>()?).await?;

        let mut restoring = self.restoring.lock();
        restoring.has_skipped |= has_skipped;
        restoring.after = notes.last().map(|note| note.key.clone());
        let is_last = notes.len() < PAGE;
        if is_last {
            // Bodies that run are waited for.
            restoring.is_due = std::mem::take(&mut restoring.has_skipped);
            restoring.after = None;
        }
        Ok(!is_last)
    }

    /// Puts letters back that the store lacks. Returns whether it skipped one.
    async fn put_back(&self, kept: Vec<Kept>) -> Result<bool, StoreError> {
        let ids: Vec<RecordId> = kept.iter().map(|kept| kept.letter.record_id()).collect();
        if ids.is_empty() {
            return Ok(false);
        }
        let rows = self.store.read(ids.clone()).await?.rows;
        let (mut skipped, mut past, mut free) = (false, Vec::new(), Vec::new());
        for ((kept, id), row) in kept.into_iter().zip(ids).zip(rows) {
            let letter = kept.letter.id;
            match place(letter, row) {
                Place::Taken => {}
                Place::Running => skipped = true,
                Place::Past => past.push(letter),
                Place::Free(expected) => match self.store.letter(letter).await? {
                    None => free.push((kept, id, expected)),
                    Some(_) => past.push(letter),
                },
            }
        }
        self.forget(past).await?;
        if !free.is_empty() {
            self.write_back(free).await?;
        }
        Ok(skipped)
    }

    /// Writes letters with the records that are dead with them, in the name of a runner of their own.
    async fn write_back(&self, free: Vec<(Kept, RecordId, Option<u64>)>) -> Result<(), StoreError> {
        let count = free.len() as u64;
        let runner: Runner = Arc::from(format!("letters-{:032x}", fastrand::u128(..)));
        let first = self.reserve_above(&free).await?;
        self.store.beat(&runner, LEASE, first).await?;
        let numbered = (first..).zip(free);
        let writes = numbered.map(|(version, (kept, id, expected))| {
            let Kept { record, letter } = kept;
            let write = first_write(id, version, &record).map_err(super::refused)?;
            Ok(Write {
                expected,
                notes: vec![NoteChange::put(unnotified_key(letter.id), [])],
                letter: Some(LetterWrite {
                    letter: Box::new(letter),
                    is_new: true,
                }),
                ..write
            })
        });
        let writes = writes.collect::<Result<_, StoreError>>()?;
        let written = self.store.write(&runner, writes).await?;
        // It would lapse by itself, too.
        let _ = self.store.retire(&runner, None).await;
        tracing::warn!(
            "{} dead letters that were gone are back from the second ledger; people are told of them \
             again",
            written.versions.len()
        );
        if (written.versions.len() as u64) < count {
            let message = "other processes changed the records of dead letters";
            return Err(StoreError::new(StoreErrorKind::Away, message));
        }
        Ok(())
    }

    /// Reserves numbers above those of all these records: a store that was emptied begins anew.
    async fn reserve_above(
        &self,
        free: &[(Kept, RecordId, Option<u64>)],
    ) -> Result<u64, StoreError> {
        let count = free.len() as u64;
        let above = free.iter().map(|(kept, _, expected)| {
            let token = match &kept.record {
                Record::Settled(settled) => settled.token,
                Record::Live(live) => live.token,
            };
            token.max(expected.unwrap_or(0))
        });
        let above = above.max().unwrap_or(0);
        let first = self.store.reserve(count).await?;
        if first > above {
            return Ok(first);
        }
        let skipped = above - first;
        Ok(self.store.reserve(skipped.saturating_add(count)).await? + skipped)
    }

    /// Removes letters from the second ledger whose messages were settled since.
    async fn forget(&self, past: Vec<DeadLetterId>) -> Result<(), StoreError> {
        if past.is_empty() {
            return Ok(());
        }
        let past = past
            .iter()
            .map(|letter| NoteChange::delete(self.key(*letter)));
        let forgotten = self.second.write_notes(past.collect(), Vec::new()).await;
        forgotten.map(drop).map_err(unkept)
    }
}

fn place(letter: DeadLetterId, row: Result<Option<Row>, LedgerError>) -> Place {
    let row = match row {
        Ok(Some(row)) => row,
        Ok(None) => return Place::Free(None),
        // Whatever it is, it is not replaced.
        Err(_) => return Place::Taken,
    };
    match (&row.record, &row.owner) {
        (None, _) => Place::Free(Some(row.version)),
        (Some(record @ Record::Settled(_)), _) if dead_as(record) == Some(letter) => Place::Taken,
        (Some(Record::Settled(_)), _) => Place::Past,
        (Some(Record::Live(_)), Owner::None) => Place::Free(Some(row.version)),
        (Some(Record::Live(_)), _) => Place::Running,
    }
}
