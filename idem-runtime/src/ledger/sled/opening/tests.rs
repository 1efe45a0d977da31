//! Openings of folders whose rows do not match their counts.

use std::time::Duration;

use super::super::layout::COUNTED;
use super::*;
use crate::clock::SystemClock;
use crate::ledger::folder::Folder;
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
            sealed: None,
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
    let folder = Folder::hold(path, crate::ledger::Engine::Sled).unwrap();
    let (store, _) = recovery::begin(&folder, CACHE, None).unwrap();
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
        assert_eq!(counts.closed_letters, 3);
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
            batch.insert(key.to_vec(), &0_u8).unwrap();
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
            .unwrap();
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
