//! Migrations of a folder into a store in memory, which stands for one on a server.

mod cut;
mod into_folder;

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::ledger::shared::{SharedLedger, Store};
use idem_runtime::ledger::{Filter, Ledger, Note, NoteChange, SledLedger, StoppedLedger};
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::protocol::{
    AttemptOutcome, Budget, Claim, DeadLetter, Record, RecordId, Reply, Settlement, Step,
    StoredResult,
};
use idem_runtime::testing::{ManualClock, MemoryStore};
use idem_runtime::{Error, Idem, idempotent};
use jiff::Timestamp;
use tempfile::TempDir;

use self::cut::Cut;
use super::tally::{Kind, Skip, Tally};
use super::{Done, How};
use crate::problem::Problem;

const TTL: Duration = Duration::from_secs(3600);

#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("no stock")]
    NoStock,
    #[error(transparent)]
    Idem(#[from] Error),
}

#[idempotent(name = "orders.place", key = "order_no", retries = 0)]
async fn place_order(order_no: String, qty: u32) -> Result<u32, OrderError> {
    if qty > 10 {
        return Err(OrderError::NoStock);
    }
    Ok(qty * 100)
}

fn id(key: &str) -> RecordId {
    RecordId::new("orders.place", key)
}

fn how() -> How {
    How {
        now: Timestamp::now(),
        dry_run: false,
        partial: false,
    }
}

/// A folder with all that there can be. The claims of `R-1` and `R-2` ran when its service ended; that
/// of `R-2` was its last.
async fn folder() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let idem = Idem::open(place.path()).unwrap();
    for number in 0..600 {
        let key = format!("A-{number}");
        assert_eq!(idem.scope(place_order(key, 2)).await.unwrap(), 200);
    }
    let mut letters = Vec::new();
    for key in ["D-1", "D-2", "D-3"] {
        idem.scope(place_order(key.to_owned(), 11))
            .await
            .unwrap_err();
        let open = idem.dead_letters().list(&Filter::default().key(key)).await;
        letters.push(open.unwrap()[0].id);
    }
    idem.dead_letters()
        .discard(&letters[1], "a test")
        .await
        .unwrap();
    idem.dead_letters().redrive(&letters[2]).await.unwrap();
    assert_eq!(
        idem.scope(place_order("D-3".to_owned(), 3)).await.unwrap(),
        300
    );
    idem.issuer("orders").issue().await.unwrap();
    for number in 0..3 {
        let message = OutboxMessage::json("orders", format!("A-{number}"), &number).unwrap();
        idem.outbox().send(message).await.unwrap();
    }
    let read = idem.outbox().pending(None, 1).await.unwrap();
    idem.outbox().acknowledge(&read).await.unwrap();
    let notes = vec![
        NoteChange::put("leases/monitor", "it"),
        NoteChange::put("seen/x", "~1"),
    ];
    idem.notes().write(notes).await.unwrap();
    let many = (0..1200).map(|number: u32| NoteChange::put("jobs/~", number.to_string()));
    idem.notes().write(many.collect()).await.unwrap();
    idem.close().await.unwrap();
    unfinished(&place).await;
    place
}

async fn unfinished(place: &TempDir) {
    let ledger = service(place);
    for (key, retries) in [("R-1", 3), ("R-2", 0)] {
        let claim = Claim::new("it", *b"{}", Budget::new(retries, TTL), TTL);
        let reply = ledger.apply(&id(key), Step::Claim(claim)).await.unwrap();
        assert!(matches!(reply, Reply::Run(_)), "{reply:?}");
    }
}

fn service(place: &TempDir) -> SledLedger {
    let clock = Arc::new(clock());
    SledLedger::open(place.path(), 16 << 20, clock, "it".to_owned()).unwrap()
}

fn clock() -> ManualClock {
    let clock = ManualClock::default();
    clock.set(Timestamp::now());
    clock
}

async fn migrate(folder: &StoppedLedger, store: &impl Store, how: &How) -> Result<Done, Problem> {
    super::migrate(folder, store, how, async || Ok(())).await
}

/// Opens a store as a service does.
async fn open(store: impl Store) -> Result<Idem, Error> {
    let opening = move |context| SharedLedger::open(store, context, Duration::from_secs(30));
    Idem::builder().open_with(opening).await
}

/// Opens a store that a migration is yet to fill.
async fn cannot_open(store: impl Store) {
    let Error::Ledger { source, .. } = open(store).await.unwrap_err() else {
        panic!("it is the ledger that refuses")
    };
    let text = source.to_string();
    assert!(text.contains("run the same `idem migrate`"), "{text}");
}

fn held(place: &TempDir) -> StoppedLedger {
    StoppedLedger::open(place.path(), 16 << 20).unwrap()
}

fn empty() -> MemoryStore {
    MemoryStore::new(Arc::new(clock()))
}

#[track_caller]
fn refused(done: Result<Done, Problem>) -> String {
    match done {
        Err(Problem::Told(_, text)) => text,
        other => panic!("{other:?}"),
    }
}

/// All that people and services see of a store, but the mark.
async fn seen(store: &impl Store) -> (Vec<Option<Record>>, Vec<DeadLetter>, Vec<Note>) {
    let keys = (0..600).map(|number| format!("A-{number}"));
    let others = ["D-1", "D-2", "D-3", "R-1", "R-2"].map(str::to_owned);
    let ids = keys.chain(others).map(|key| id(&key)).collect();
    let rows = store.read(ids).await.unwrap().rows.into_iter();
    let records = rows
        .map(|row| row.unwrap().and_then(|row| row.record))
        .collect();
    let letters = store
        .letters(Filter::default().limit(usize::MAX))
        .await
        .unwrap();
    let mut notes = store.notes(String::new(), None, usize::MAX).await.unwrap();
    notes.retain(|note| !note.key.starts_with("migration/"));
    (records, letters, notes)
}

async fn marks(store: &impl Store) -> Vec<String> {
    let notes = store.notes("migration/".to_owned(), None, 9).await.unwrap();
    notes.into_iter().map(|note| note.key).collect()
}

#[tokio::test]
async fn all_of_a_folder_goes_over_and_the_folder_stays_as_it_is() {
    let place = folder().await;
    let before = held(&place).last_write();
    let (store, source) = (empty(), held(&place));
    let done = migrate(&source, &store, &how()).await.unwrap();
    assert_eq!(source.last_write(), before);
    let tally = done.tally;
    for (kind, count) in [
        (Kind::Results, 601),
        (Kind::Unfinished, 1),
        (Kind::Dead, 2),
        (Kind::Discarded, 1),
        (Kind::IssuedKeys, 1),
        (Kind::OpenLetters, 2),
        (Kind::ClosedLetters, 2),
        (Kind::Outbox, 2),
    ] {
        assert_eq!(
            tally.copied.get(&kind),
            Some(&count),
            "{kind:?} of {tally:?}"
        );
    }
    assert_eq!(
        (tally.crashed, tally.buried, tally.left_out(Skip::Leases)),
        (2, 1, 1)
    );
    assert!(tally.there.is_empty(), "{tally:?}");

    let (records, _, notes) = seen(&store).await;
    for record in &records[..600] {
        let Some(Record::Settled(settled)) = record else {
            panic!("{record:?}")
        };
        let result = StoredResult::json(*b"200");
        assert_eq!(settled.end, Settlement::Done(result));
    }
    let Some(Record::Live(live)) = &records[603] else {
        panic!("{:?}", records[603])
    };
    let ends: Vec<_> = live.past.iter().map(|past| past.outcome).collect();
    assert_eq!(ends, [AttemptOutcome::Crashed]);
    let Some(Record::Settled(dead)) = &records[604] else {
        panic!("{:?}", records[604])
    };
    let Settlement::Dead(letter) = dead.end else {
        panic!("{dead:?}")
    };
    assert_eq!(store.letter(letter).await.unwrap().unwrap().key, "R-2");
    assert!(
        notes
            .iter()
            .any(|note| note.key == format!("untold/{letter}"))
    );
    let mut all = source.notes(None, usize::MAX).unwrap();
    all.retain(|note| !note.key.starts_with("leases/"));
    assert!(all.iter().all(|note| notes.contains(note)));
    for letter in source.letters() {
        let letter = letter.unwrap();
        assert_eq!(store.letter(letter.id).await.unwrap(), Some(letter));
    }
}

/// Checks that a duplicate gets the result, a dead one its letter, that a discarded one does not run,
/// and that what is added to the outbox comes behind what was in it.
async fn goes_on(idem: &Idem) {
    assert_eq!(
        idem.scope(place_order("A-7".to_owned(), 2)).await.unwrap(),
        200
    );
    for key in ["D-1", "D-2", "R-2"] {
        let error = idem
            .scope(place_order(key.to_owned(), 11))
            .await
            .unwrap_err();
        assert!(
            matches!(error, OrderError::Idem(Error::DeadLettered { .. })),
            "{error:?}"
        );
    }
    let message = OutboxMessage::json("orders", "B-1", &1).unwrap();
    idem.outbox().send(message).await.unwrap();
    let keys: Vec<_> = idem.outbox().pending(None, 10).await.unwrap();
    let keys: Vec<_> = keys.iter().map(|entry| entry.message.key.clone()).collect();
    assert_eq!(keys, ["A-1", "A-2", "B-1"]);
}

#[tokio::test]
async fn services_go_on_with_what_was_migrated() {
    let place = folder().await;
    let store = empty();
    let source = held(&place);
    migrate(&source, &store, &how()).await.unwrap();
    let last = source.notes(None, usize::MAX).unwrap();
    let last = last
        .iter()
        .rfind(|note| note.key.starts_with("outbox/"))
        .unwrap();
    let idem = open(store.clone()).await.unwrap();
    goes_on(&idem).await;
    // No number was given out before.
    let added = idem
        .notes()
        .list("outbox/", Some(&last.key), 10)
        .await
        .unwrap();
    assert_eq!(added.len(), 1);
    let number = added[0].key.rsplit('~').next().unwrap().to_owned();
    assert!(u64::from_str_radix(&number, 16).unwrap() > source.last_number());
    assert_eq!(
        idem.scope(place_order("N-1".to_owned(), 1)).await.unwrap(),
        100
    );
    let Some(Record::Settled(new)) = store.read(vec![id("N-1")]).await.unwrap().rows[0]
        .clone()
        .unwrap()
        .unwrap()
        .record
    else {
        panic!("it was recorded")
    };
    assert!(new.token > source.last_number());
    idem.close().await.unwrap();
}

#[tokio::test]
async fn one_that_was_cut_off_at_any_call_goes_on() {
    let place = folder().await;
    let source = held(&place);
    let whole = empty();
    let how = how();
    migrate(&source, &whole, &how).await.unwrap();
    let wanted = seen(&whole).await;
    for takes_place in [false, true] {
        for calls in 0.. {
            let store = empty();
            let cut = Cut::after(calls, takes_place, store.clone());
            let first = migrate(&source, &cut, &how).await;
            // From its mark on, the time at which it began counts.
            let marked = !marks(&store).await.is_empty();
            let later = How {
                now: if marked { Timestamp::now() } else { how.now },
                ..how
            };
            // No service runs what is not copied yet.
            let is_done = marks(&store).await == ["migration/from-folder"];
            if marked && !is_done {
                cannot_open(store.clone()).await;
            }
            let again = migrate(&source, &store, &later).await.unwrap();
            assert!(seen(&store).await == wanted, "{calls} {takes_place}");
            assert_eq!(marks(&store).await, ["migration/from-folder"]);
            if first.is_ok() {
                assert!(again.before.is_some());
                assert!(calls > 8, "{calls}");
                break;
            }
            let sum = |tally: &Tally| Kind::ALL.map(|kind| tally.of(kind));
            if again.before.is_none() {
                assert_eq!(sum(&again.tally)[0], 601, "{calls}: {:?}", again.tally);
            }
        }
    }
}

#[tokio::test]
async fn a_second_run_and_a_dry_one_change_nothing() {
    let place = folder().await;
    let (store, source) = (empty(), held(&place));
    let dry = How {
        dry_run: true,
        ..how()
    };
    let looked = migrate(&source, &store, &dry).await.unwrap();
    assert_eq!(store.calls().writes, 0);
    assert!(
        store
            .notes(String::new(), None, 9)
            .await
            .unwrap()
            .is_empty()
    );
    let done = migrate(&source, &store, &how()).await.unwrap();
    assert_eq!(looked.tally, done.tally);
    let writes = store.calls().writes;
    let again = migrate(&source, &store, &how()).await.unwrap();
    assert!(
        again.before.is_some() && store.calls().writes == writes,
        "{again:?}"
    );
}

#[tokio::test]
async fn a_store_that_a_service_has_used_is_refused() {
    let place = folder().await;
    let source = held(&place);
    let store = empty();
    store.reserve(1000).await.unwrap();
    let text = refused(migrate(&source, &store, &how()).await);
    assert!(text.contains("a service has used the target"), "{text}");
    assert!(
        store
            .notes(String::new(), None, 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.calls().writes, 0);

    // In the middle of it, too.
    let store = empty();
    migrate(&source, &Cut::after(12, true, store.clone()), &how())
        .await
        .unwrap_err();
    store.reserve(1000).await.unwrap();
    let text = refused(migrate(&source, &store, &how()).await);
    assert!(text.contains("before the migration was done"), "{text}");
}

/// Whichever of the two comes first: the mark of the migration, or the service's heartbeat.
#[tokio::test]
async fn a_service_that_opens_as_it_begins_is_refused_or_found() {
    let place = folder().await;
    let (source, store) = (held(&place), empty());
    let service = store.clone();
    let finds_it = async || {
        // The first call of all tells: it does not beat.
        cannot_open(Cut::after(2, true, service)).await;
        Ok(())
    };
    super::migrate(&source, &store, &how(), finds_it)
        .await
        .unwrap();
    open(store.clone()).await.unwrap().close().await.unwrap();

    let store = empty();
    let begins = Cut {
        begins: true,
        ..Cut::after(usize::MAX, true, store.clone())
    };
    cannot_open(begins).await;

    let store = empty();
    let at_work = async || Err(Problem::failed("a service is at work"));
    let text = refused(super::migrate(&source, &store, &how(), at_work).await);
    assert!(text.contains("at work"), "{text}");
    assert!(marks(&store).await.is_empty());
    open(store.clone()).await.unwrap().close().await.unwrap();
}

/// A run that is killed before it has looked leaves its mark. The next one takes it away.
#[tokio::test]
async fn a_mark_in_a_store_that_a_service_has_used_is_taken_away() {
    let place = folder().await;
    let (source, store) = (held(&place), empty());
    store.reserve(1000).await.unwrap();
    let killed = Cut::after(2, true, store.clone());
    migrate(&source, &killed, &how()).await.unwrap_err();
    assert_eq!(marks(&store).await.len(), 2);
    let text = refused(migrate(&source, &store, &how()).await);
    assert!(text.contains("a service has used the target: "), "{text}");
    assert!(marks(&store).await.is_empty());
    open(store.clone()).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_was_used_since_and_another_folder_are_refused() {
    let (place, other) = (folder().await, folder().await);
    let store = empty();
    migrate(&held(&place), &Cut::after(12, true, store.clone()), &how())
        .await
        .unwrap_err();
    let text = refused(migrate(&held(&other), &store, &how()).await);
    assert!(text.contains("another ledger"), "{text}");
    Idem::open(place.path()).unwrap().close().await.unwrap();
    let text = refused(migrate(&held(&place), &store, &how()).await);
    assert!(text.contains("source was used since"), "{text}");
}

#[tokio::test]
async fn other_data_under_a_key_is_left_alone() {
    let place = folder().await;
    let store = empty();
    let other = NoteChange::put("seen/x", "another");
    assert!(store.write_notes(vec![other], Vec::new()).await.unwrap());
    let text = refused(migrate(&held(&place), &store, &how()).await);
    assert!(text.contains("other data for the note `seen/x`"), "{text}");
    let kept = store.notes("seen/".to_owned(), None, 9).await.unwrap();
    assert_eq!(kept[0].value, b"another");
}

#[tokio::test]
async fn results_with_long_keys_are_left_out_on_purpose_only() {
    let place = tempfile::tempdir().unwrap();
    let idem = Idem::open(place.path()).unwrap();
    idem.scope(place_order("x".repeat(300), 2)).await.unwrap();
    idem.scope(place_order("y".repeat(300), 11))
        .await
        .unwrap_err();
    idem.close().await.unwrap();
    let (store, source) = (empty(), held(&place));
    let text = refused(migrate(&source, &store, &how()).await);
    assert!(
        text.contains("1 settled records") && text.contains("--partial"),
        "{text}"
    );
    assert!(
        store
            .notes(String::new(), None, 9)
            .await
            .unwrap()
            .is_empty()
    );
    let partial = How {
        partial: true,
        ..how()
    };
    let done = migrate(&source, &store, &partial).await.unwrap();
    assert_eq!(done.tally.left_out(Skip::LongKeys), 1);
    // A letter has the whole key.
    let row = store
        .read(vec![id(&"y".repeat(300))])
        .await
        .unwrap()
        .rows
        .remove(0)
        .unwrap();
    assert!(matches!(row.unwrap().record, Some(Record::Settled(_))));
}
