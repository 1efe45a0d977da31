//! Discards of many letters, and what a stop in the middle leaves.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

use std::collections::BTreeSet;
use std::path::Path;

use idem_ops::service::{
    AuditEntry, AuditPage, Bulk, BulkDeed, BulkState, Deed, LetterQuery, NewBulk, Outcome,
    PageQuery, Selection, Service, ServiceError,
};
use idem_runtime::ledger::NoteChange;
use idem_runtime::testing::ManualClock;
use idem_runtime::{Actor, Filter, Idem, LetterState};
use serde_json::json;

use crate::common::until;
use crate::place::Place;

/// The acts on letters that a bulk act has in the audit log.
fn acts(audit: &AuditPage, bulk: &Bulk) -> Vec<AuditEntry> {
    let of_it = audit
        .entries
        .iter()
        .filter(|entry| entry.bulk == Some(bulk.id) && entry.letter.is_some());
    of_it.cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_discarded_through_a_restart_each_letter_once() {
    // Time stands still but where the test moves it, so that the restart comes in the middle.
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let place = Place::open_at(folder.path(), &clock).await;
    place.bad_orders(40).await;
    let asked = json!({ "selection": { "filter": { "handler": "orders.place" } }, "deed": "discard", "rate": 20, "why": "old" });
    let bulk: Bulk = place.post("/api/v1/bulk", asked).await.json();
    assert_eq!(
        (bulk.total, bulk.asked.deed, bulk.state),
        (40, BulkDeed::Discard, BulkState::Running)
    );
    let some = place
        .bulk_in_time(&clock, bulk.id, |bulk| bulk.done >= 5)
        .await;
    assert_eq!(some.state, BulkState::Running);
    place.stop().await;

    let place = Place::open_at(folder.path(), &clock).await;
    assert!(place.bulk(bulk.id).await.done >= some.done);
    let end = place
        .bulk_in_time(&clock, bulk.id, |bulk| bulk.state == BulkState::Finished)
        .await;
    assert_eq!((end.done, end.failed, end.skipped), (40, 0, 0), "{end:?}");
    let letters = place
        .idem
        .dead_letters()
        .list(&Filter::default().any_state())
        .await
        .unwrap();
    assert_eq!(letters.len(), 40);
    let by = Actor {
        who: Some("ann".to_owned()),
        why: Some("old".to_owned()),
    };
    for letter in letters {
        assert_eq!(
            (letter.state, letter.history.len()),
            (LetterState::Discarded, 1)
        );
        assert_eq!(letter.history[0].by, by);
    }
    let audit: AuditPage = place.get("/api/v1/audit").await.json();
    let (done, other): (Vec<_>, Vec<_>) = acts(&audit, &bulk)
        .into_iter()
        .partition(|entry| entry.outcome == Outcome::Done);
    assert!(done.iter().all(|entry| entry.what == Deed::Discard));
    assert_eq!(
        done.iter()
            .map(|entry| entry.letter)
            .collect::<BTreeSet<_>>()
            .len(),
        done.len(),
        "one of them twice"
    );
    assert_eq!(done.len(), 40);
    // Those whose turn the stop cut off, and who had another.
    let again = |entry: &AuditEntry| matches!(&entry.outcome, Outcome::Refused(why) if why.contains("another turn"));
    assert!(other.len() <= 2 && other.iter().all(again), "{other:?}");
    assert_eq!(audit.entries.last().unwrap().what, Deed::StartDiscard);
}

/// A discard of four letters, as a kill leaves it after one turn, with the other three written down
/// as having theirs: it had closed one of them, somebody else had closed another, and one is open.
async fn cut_off(folder: &Path) -> (Service, Bulk) {
    let place = Place::open(folder).await;
    place.bad_orders(4).await;
    let asked =
        json!({ "selection": { "filter": {} }, "deed": "discard", "rate": 0.01, "why": "old" });
    let bulk: Bulk = place.post("/api/v1/bulk", asked).await.json();
    let bulk = place.bulk_until(bulk.id, |bulk| bulk.done == 1).await;
    place.stop().await;
    let idem = Idem::open(folder).unwrap();
    let letters = idem.dead_letters();
    let open = letters.list(&Filter::default()).await.unwrap();
    let mut turn = Vec::new();
    for letter in &open {
        // Entries of the audit log as a turn begins them.
        let entry = uuid::Uuid::from_bytes(*letter.id.as_bytes());
        let value = json!({ "id": entry, "at": letter.died_at, "who": "ann", "what": "discard", "why": "old",
            "letter": letter.id, "handler": letter.handler, "key": letter.key, "bulk": bulk.id, "outcome": "begun" });
        let note = NoteChange::put(format!("audit/{entry}"), value.to_string());
        idem.notes().write(vec![note]).await.unwrap();
        turn.push(json!([letter.id, entry]));
    }
    letters
        .clone()
        .by("ann")
        .discard(&open[0].id, "old")
        .await
        .unwrap();
    letters
        .by("bob")
        .discard(&open[1].id, "a double")
        .await
        .unwrap();
    let key = format!("bulk/{}", bulk.id);
    let mut job: serde_json::Value =
        serde_json::from_slice(&idem.notes().get(&key).await.unwrap().unwrap()).unwrap();
    job["turn"] = turn.into();
    job["cursor"] = json!(open[2].id);
    job["bulk"]["asked"]["rate"] = json!(1000.0);
    idem.notes()
        .write(vec![NoteChange::put(key, job.to_string())])
        .await
        .unwrap();
    (Service::looking(idem), bulk)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_goes_on_with_nothing_and_who_owns_the_handlers_does() {
    let folder = tempfile::tempdir().unwrap();
    let (looking, bulk) = cut_off(folder.path()).await;
    let shown = looking.bulk(bulk.id).await.unwrap();
    assert_eq!((shown.state, shown.done), (BulkState::Running, 1));
    let idem = looking.idem().clone();
    // Whatever it begins itself, it works on.
    let open = idem.dead_letters().count_open().await.unwrap();
    let selection = Selection::Filter(LetterQuery {
        key: Some("none".to_owned()),
        ..Default::default()
    });
    let asked = NewBulk {
        selection,
        deed: BulkDeed::Rearm,
        rate: 1000.0,
        why: "x".to_owned(),
    };
    let own = looking.by("eve").start_bulk(asked).await.unwrap();
    until(
        async || looking.bulk(own.id).await.unwrap(),
        |bulk| bulk.state == BulkState::Finished,
    )
    .await;
    assert_eq!(looking.bulk(bulk.id).await.unwrap(), shown);
    assert_eq!(idem.dead_letters().count_open().await.unwrap(), open);
    drop(looking);
    idem.close().await.unwrap();
    drop(idem);

    let service = Service::new(Idem::open(folder.path()).unwrap());
    let end = until(
        async || service.bulk(bulk.id).await.unwrap(),
        |bulk| bulk.state == BulkState::Finished,
    )
    .await;
    assert_eq!((end.done, end.failed, end.skipped), (3, 0, 1), "{end:?}");
    service.idem().close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cut_off_can_be_stopped_where_it_is_only_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let (looking, bulk) = cut_off(folder.path()).await;
    let stopped = looking
        .by("eve")
        .cancel_bulk(bulk.id, Some("enough"))
        .await
        .unwrap();
    assert_eq!(
        (stopped.state, stopped.done, stopped.skipped),
        (BulkState::Cancelled, 2, 1)
    );
    let audit = looking.audit(&PageQuery::default()).await.unwrap();
    assert_eq!(
        (audit.entries[0].what, audit.entries[0].who.as_str()),
        (Deed::CancelDiscard, "eve")
    );
    assert_eq!(looking.idem().dead_letters().count_open().await.unwrap(), 1);
    assert!(
        acts(&audit, &bulk)
            .iter()
            .all(|entry| entry.outcome != Outcome::Begun),
        "{audit:?}"
    );
    let again = looking.by("eve").cancel_bulk(bulk.id, None).await;
    assert!(
        matches!(again, Err(ServiceError::BulkEnded(_))),
        "{again:?}"
    );
    looking.idem().close().await.unwrap();
}
