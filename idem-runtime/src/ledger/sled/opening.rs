//! Opening: reads the ledger, and refuses it if something is missing.

use std::path::Path;
use std::sync::Arc;

use super::batch::Batch;
use super::buckets::Buckets;
use super::counts::{counts, listed_hashes, stored_hashes};
use super::filters::Bucket;
use super::group::State;
use super::journal::{Draft, Entry, Journal, Moves, RING, Running};
use super::layout::{BUCKET, BucketStats, ClosedBucket, Counts, JOURNAL, Meta, bucket_in};
use super::salvage;
use super::store::Store;
use crate::ledger::LedgerError;

/// A ledger that was read.
pub(super) struct Opened {
    pub(super) state: State,
    pub(super) running: Running,
    pub(super) filters: Vec<Arc<Bucket>>,
    /// The closed buckets, with the stats they should have.
    pub(super) closed: Vec<(u32, BucketStats)>,
}

impl Opened {
    /// Reads a ledger of which this group was acknowledged. Without a group, salvages what is left.
    pub(super) fn read(
        store: &Store,
        path: &Path,
        acknowledged: Option<u64>,
    ) -> Result<Self, LedgerError> {
        if acknowledged.is_none() {
            salvage::salvage(store)?;
        }
        Self::whole(store, path, acknowledged.unwrap_or(0)).map_err(|error| match error {
            // A row that is always there cannot be read.
            LedgerError::Record { detail } => LedgerError::Damaged {
                path: path.to_owned(),
                detail,
            },
            other => other,
        })
    }

    fn whole(store: &Store, path: &Path, acknowledged: u64) -> Result<Self, LedgerError> {
        let damaged = |detail| LedgerError::Damaged {
            path: path.to_owned(),
            detail,
        };
        let entries = entries(store)?;
        let (mut meta, group) = match entries.last() {
            Some(Entry {
                meta: Some(meta),
                group,
                ..
            }) => (meta.clone(), *group),
            Some(Entry { number, .. }) => {
                return Err(damaged(format!("its journal breaks off at entry {number}")));
            }
            None => (Meta::fresh(), 0),
        };
        if group < acknowledged {
            return Err(LedgerError::Behind {
                path: path.to_owned(),
                found: group,
                acknowledged,
            });
        }
        let last = entries.last().map_or(0, |entry| entry.number);
        let expected = last - last.min(RING) + 1..=last;
        if !entries.iter().map(|entry| entry.number).eq(expected) {
            return Err(damaged(format!(
                "entries of its journal are missing: it holds {} up to {last}",
                entries.len()
            )));
        }
        let counts = counts(store)?;
        if counts != meta.counts {
            let closed_letters = meta.counts.closed_letters;
            if counts.closed_letters < closed_letters
                || counts
                    != (Counts {
                        closed_letters: counts.closed_letters,
                        ..meta.counts
                    })
            {
                return Err(damaged(format!(
                    "it holds {counts}, and should hold {}",
                    meta.counts
                )));
            }
            // A closed letter too many is history and starts nothing. Any other record too many may
            // be one that damage brought back, and would run again.
            tracing::error!(holds = %counts, counted = %meta.counts, "more closed letters than were counted: nothing is missing");
            meta.counts = counts;
        }
        let (mut filters, mut closed, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        store.each(&[BUCKET], |key, bucket| {
            let bucket: ClosedBucket = bucket?;
            match bucket_in(key) {
                id if bucket.dropped => dropped.push(id),
                id => closed.push((id, bucket.stats)),
            }
            Ok(())
        })?;
        for (id, stats) in &closed {
            let listed = listed_hashes(store, *id)?;
            if listed.len() as u64 != stats.count {
                return Err(damaged(format!(
                    "bucket {id} lists {} results of {}",
                    listed.len(),
                    stats.count
                )));
            }
            let bucket = Bucket::new(*id, stats.count, &listed);
            bucket.close();
            filters.push(Arc::new(bucket));
        }
        let mut buckets = Buckets::new(meta.bucket, closed.clone(), dropped);
        for open in &meta.open {
            let stored = stored_hashes(store, open.id, meta.seed)?;
            if stored.len() as u64 != open.stats.count {
                return Err(damaged(format!(
                    "bucket {} holds {} results of {}",
                    open.id,
                    stored.len(),
                    open.stats.count
                )));
            }
            filters.push(buckets.resume(*open, stored));
        }
        let (journal, running) = Journal::from_entries(entries)?;
        Ok(Self {
            state: State {
                meta,
                journal,
                buckets,
            },
            running,
            filters,
            closed,
        })
    }
}

impl State {
    /// Begins the next opening: later groups belong to it.
    pub(super) fn begin(
        &mut self,
        store: &Store,
        running: &mut Running,
    ) -> Result<(), LedgerError> {
        self.meta.session += 1;
        let (batch, moves) = self.numbers(store, running)?;
        store.write(batch)?;
        moves.apply(running);
        Ok(())
    }

    /// Returns a group that writes only the ledger's numbers.
    pub(super) fn numbers<'a>(
        &mut self,
        store: &'a Store,
        running: &Running,
    ) -> Result<(Batch<'a>, Moves), LedgerError> {
        let Self { meta, journal, .. } = self;
        meta.group += 1;
        let mut batch = Batch::on(store);
        let moves = journal.write(Draft::default(), running, meta, &mut batch, |_, _| None)?;
        Ok((batch, moves))
    }
}

/// The journal's entries, in their order.
fn entries(store: &Store) -> Result<Vec<Entry>, LedgerError> {
    let mut entries = Vec::new();
    store.each(&[JOURNAL], |_, entry| {
        entries.push(entry?);
        Ok(())
    })?;
    entries.sort_by_key(|entry: &Entry| entry.number);
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::layout::COUNTED;
    use super::*;
    use crate::clock::SystemClock;
    use crate::ledger::sled::folder::Folder;
    use crate::ledger::sled::layout::{CLOSED_LETTER, LIVE, NOTE, journal_key, letter_key};
    use crate::ledger::sled::{SledLedger, recovery};
    use crate::ledger::{Filter, Ledger};
    use crate::protocol::{
        Actor, Bury, BuryCause, Fingerprint, LetterState, Origin, RecordId, Reply, Step,
    };

    const CACHE: u64 = 1 << 20;

    fn open(path: &Path) -> Result<SledLedger, LedgerError> {
        SledLedger::open(path, CACHE, Arc::new(SystemClock), "test".to_owned())
    }

    /// A folder with three letters that were closed.
    async fn with_letters() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(folder.path()).unwrap();
        for key in ["A", "B", "C"] {
            let id = RecordId::new("h", key);
            let buried = Bury {
                fingerprint: Fingerprint([0; 16]),
                payload: "{".into(),
                cause: BuryCause::undecodable("unreadable", None),
                redacted: Vec::new(),
                origin: Origin::new("rabbitmq", "orders"),
                ttl: Duration::from_secs(1000),
            };
            let Reply::DeadLettered(letter) = ledger
                .apply(&id, Step::Bury(Box::new(buried)))
                .await
                .unwrap()
            else {
                panic!()
            };
            let discard = Step::Discard {
                letter: letter.id,
                by: Actor::default(),
            };
            assert_eq!(ledger.apply(&id, discard).await.unwrap(), Reply::Recorded);
        }
        ledger.close().await.unwrap();
        folder
    }

    async fn closed_letters(ledger: &SledLedger) -> usize {
        ledger
            .letters(&Filter::default().state(LetterState::Discarded))
            .await
            .unwrap()
            .len()
    }

    /// Changes a closed ledger's counts or rows, as damage or a miscounting program would.
    fn tamper(path: &Path, change: impl FnOnce(&mut Batch<'_>, &mut Counts)) {
        let folder = Folder::hold(path).unwrap();
        let store = recovery::begin(&folder, CACHE, None).unwrap();
        let mut entry: Entry = entries(&store).unwrap().pop().unwrap();
        let mut batch = Batch::on(&store);
        change(&mut batch, &mut entry.meta.as_mut().unwrap().counts);
        batch
            .insert(journal_key(entry.number % RING), &entry)
            .unwrap();
        store.write(batch).unwrap();
    }

    #[tokio::test]
    async fn closed_letters_that_were_not_counted_close_no_folder() {
        let folder = with_letters().await;
        tamper(folder.path(), |_, counts| counts.closed_letters -= 2);
        for _ in 0..2 {
            let ledger = open(folder.path()).unwrap();
            assert_eq!(closed_letters(&ledger).await, 3);
            ledger.close().await.unwrap();
        }
        tamper(folder.path(), |_, counts| {
            assert_eq!(counts.closed_letters, 3)
        });
    }

    #[tokio::test]
    async fn what_is_missing_or_may_have_come_back_is_damage() {
        let folder = with_letters().await;
        let refused = |what| {
            let error = open(folder.path())
                .err()
                .unwrap_or_else(|| panic!("kind {what} was not looked at"));
            assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
        };
        for kind in COUNTED {
            tamper(folder.path(), |_, counts| *counts.of(kind).unwrap() += 1);
            refused(kind);
            tamper(folder.path(), |_, counts| *counts.of(kind).unwrap() -= 1);
        }
        for kind in COUNTED.into_iter().filter(|kind| *kind != CLOSED_LETTER) {
            let key = [kind, 1, b'h', b'k'];
            tamper(folder.path(), |batch, _| {
                batch.insert(key.to_vec(), &0_u8).unwrap()
            });
            refused(kind);
            tamper(folder.path(), |batch, counts| {
                *counts.of(kind).unwrap() += 1;
                let mut meta = Meta {
                    counts: *counts,
                    ..Meta::fresh()
                };
                batch.remove(&key, &mut meta).unwrap();
                *counts = meta.counts;
            });
        }
        assert_eq!(closed_letters(&open(folder.path()).unwrap()).await, 3);
    }

    /// Writes and removes rows behind the ledger's back, as a program would that counts wrongly.
    fn behind_its_back(ledger: &SledLedger, change: impl FnOnce(&mut Batch<'_>, &mut Meta)) {
        let write = |store: &Store| {
            let mut batch = Batch::on(store);
            change(
                &mut batch,
                &mut Meta {
                    counts: counts(store)?,
                    ..Meta::fresh()
                },
            );
            store.write(batch)
        };
        ledger.shared.with_store(write).unwrap();
    }

    #[tokio::test]
    async fn a_letter_that_cannot_be_read_keeps_no_other_from_a_listing() {
        let folder = with_letters().await;
        let ledger = open(folder.path()).unwrap();
        let all = ledger
            .letters(&Filter::default().any_state())
            .await
            .unwrap();
        behind_its_back(&ledger, |batch, _| {
            batch
                .insert(letter_key(CLOSED_LETTER, all[1].id), &0_u8)
                .unwrap()
        });
        assert!(matches!(
            ledger.letter(all[1].id).await,
            Err(LedgerError::Record { .. })
        ));
        for limit in [2, 100] {
            let listed = ledger
                .letters(&Filter::default().any_state().limit(limit))
                .await
                .unwrap();
            assert_eq!(listed, [all[0].clone(), all[2].clone()]);
        }
    }

    #[tokio::test]
    async fn what_was_not_counted_is_counted_at_the_closing() {
        let folder = with_letters().await;
        let ledger = open(folder.path()).unwrap();
        behind_its_back(&ledger, |batch, meta| {
            for kind in [LIVE, NOTE] {
                batch.put(vec![kind, 1, b'h', b'k'], &0_u8, meta).unwrap();
            }
        });
        ledger.close().await.unwrap();
        drop(ledger);
        open(folder.path()).unwrap();
    }

    #[tokio::test]
    async fn what_is_missing_at_the_closing_stays_missing() {
        let folder = with_letters().await;
        let ledger = open(folder.path()).unwrap();
        behind_its_back(&ledger, |batch, meta| {
            assert_eq!(
                batch.remove_some(&[CLOSED_LETTER], &[], 1, meta).unwrap().0,
                1
            );
        });
        ledger.close().await.unwrap();
        drop(ledger);
        let error = open(folder.path()).err().expect("a letter is missing");
        assert!(error.to_string().contains("2 closed letters"), "{error}");
    }
}
