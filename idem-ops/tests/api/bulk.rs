//! Bulk jobs.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

use std::sync::Arc;
use std::time::Duration;

use idem_ops::service::{
    AuditAction, AuditPage, BulkJob, BulkPage, BulkState, GroupPage, LetterPage, Outcome,
};
use idem_runtime::ledger::NoteChange;
use idem_runtime::testing::ManualClock;
use idem_runtime::{Error, Filter, idempotent};
use serde_json::json;
use tokio::sync::Barrier;

use crate::common::{until, within};
use crate::place::{OrderError, Place, PlaceOrder, Shelf, place_order};

/// Letters with a mended payload, so that a run succeeds.
async fn mended(place: &Place, count: usize) {
    place.bad_orders(count).await;
    let letters = place.idem.dead_letters().by("bob");
    let all = letters.list(&Filter::default().limit(count)).await.unwrap();
    assert_eq!(all.len(), count);
    let edits = all.iter().map(|letter| {
        letters.edit(
            &letter.id,
            json!({ "order": { "order_no": letter.key, "qty": 1 } }),
            "all of them were typos",
        )
    });
    assert!(
        futures_util::future::join_all(edits)
            .await
            .iter()
            .all(Result::is_ok)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_500_is_run_at_a_rate_through_a_restart_and_each_lands_once() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    mended(&place, 500).await;
    let groups: GroupPage = place.get("/api/v1/groups").await.json();
    let group = &groups.groups[0];
    let selection = json!({ "group": { "handler": group.handler, "error": group.error } });
    let asked = json!({ "selection": selection, "rate": 100.0, "deed": "run", "why": "typos" });
    let answer = place.post("/api/v1/bulk", asked).await;
    assert_eq!(answer.status, 202);
    let bulk: BulkJob = answer.json();
    assert_eq!(
        (bulk.total, bulk.who.as_str(), bulk.state),
        (500, "ann", BulkState::Running)
    );

    let half = place.bulk_until(bulk.id, |bulk| bulk.done >= 50).await;
    assert_eq!(
        half.state,
        BulkState::Running,
        "it came to its end before the restart"
    );
    let shelf = place.shelf.clone();
    place.stop().await;

    let place = Place::open(folder.path()).await;
    let again: BulkPage = place.get("/api/v1/bulk").await.json();
    assert_eq!(again.bulks.len(), 1);
    assert!(again.bulks[0].done >= half.done);
    let end = place
        .bulk_until(bulk.id, |bulk| bulk.state == BulkState::Finished)
        .await;
    assert_eq!((end.done, end.failed, end.skipped), (500, 0, 0), "{end:?}");
    let mut placed = shelf.lock().unwrap().clone();
    place
        .shelf
        .lock()
        .unwrap()
        .iter()
        .for_each(|(order, times)| *placed.entry(order.clone()).or_default() += times);
    assert_eq!(placed.len(), 500);
    let letter = place
        .idem
        .dead_letters()
        .list(&Filter::default().any_state().limit(1))
        .await
        .unwrap()
        .remove(0);
    let by = &letter.history.last().unwrap().by;
    assert_eq!(
        (by.who.as_deref(), by.why.as_deref()),
        (Some("ann"), Some("typos"))
    );
    assert!(placed.values().all(|times| *times == 1));

    let mut entries = Vec::new();
    let mut path = "/api/v1/audit?limit=500".to_owned();
    loop {
        let page: AuditPage = place.get(&path).await.json();
        entries.extend(page.entries);
        let Some(next) = page.next else { break };
        path = format!("/api/v1/audit?limit=500&after={next}");
    }
    let runs = entries
        .iter()
        .filter(|entry| entry.what == AuditAction::Run && entry.outcome == Outcome::Done);
    assert_eq!(
        runs.filter(|entry| entry.bulk == Some(bulk.id)).count(),
        500
    );
    assert_eq!(entries.last().unwrap().what, AuditAction::StartRedrive);
}

#[idempotent(name = "bulk.waits", key = "id", retries = 0, skip(gate))]
async fn waits(id: u32, gate: Arc<Barrier>) -> Result<(), OrderError> {
    gate.wait().await;
    gate.wait().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_that_meet_a_closing_service_are_taken_again_after_its_restart() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    mended(&place, 3).await;
    let gate = Arc::new(Barrier::new(2));
    let (idem, held) = (place.idem.clone(), waits(1, Arc::clone(&gate)));
    let call = tokio::spawn(async move { idem.scope(held).await });
    within(gate.wait()).await;
    let idem = place.idem.clone();
    let closing = tokio::spawn(async move { idem.close().await });
    let is_refused = async || {
        let call = place.order("A-new", 1).await;
        matches!(call, Err(OrderError::Idem(Error::Closed { .. })))
    };
    until(is_refused, |refused| *refused).await;
    let asked =
        json!({ "selection": { "filter": {} }, "rate": 100.0, "deed": "run", "why": "typos" });
    let bulk: BulkJob = place.post("/api/v1/bulk", asked).await.json();
    until(
        async || place.get("/api/v1/audit").await.json::<AuditPage>(),
        |page| {
            page.entries
                .iter()
                .any(|entry| entry.what == AuditAction::Run)
        },
    )
    .await;
    within(gate.wait()).await;
    call.await.unwrap().unwrap();
    closing.await.unwrap().unwrap();
    place.stop().await;

    let place = Place::open(folder.path()).await;
    let end = place
        .bulk_until(bulk.id, |bulk| bulk.state == BulkState::Finished)
        .await;
    assert_eq!((end.done, end.failed, end.skipped), (3, 0, 0), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    mended(&place, 30).await;
    let asked = json!({ "selection": { "filter": { "handler": "orders.place" } }, "rate": 0.05, "deed": "run", "why": "x" });
    let bulk: BulkJob = place.post("/api/v1/bulk", asked).await.json();
    assert_eq!(bulk.seconds_left, Some(600));
    place.bulk_until(bulk.id, |bulk| bulk.done == 1).await;
    let path = format!("/api/v1/bulk/{}", bulk.id);
    let running: BulkJob = place.get(&path).await.json();
    assert_eq!(
        running.left().unwrap().to_string(),
        "29 letters at 0.05 a second: about 9 min"
    );
    let cancelled: BulkJob = place.delete(&format!("{path}?why=enough")).await.json();
    assert_eq!((cancelled.state, cancelled.done), (BulkState::Cancelled, 1));
    assert_eq!(cancelled.seconds_left, None);
    place.delete(&path).await.problem(409, "bulk_ended");
    place
        .delete("/api/v1/bulk/019a0000-0000-7000-8000-000000000000")
        .await
        .problem(404, "no_such_bulk");
    place.stop().await;
    let place = Place::open(folder.path()).await;
    let still: BulkJob = place.get(&path).await.json();
    assert_eq!(still, cancelled);
    let audit: AuditPage = place.get("/api/v1/audit").await.json();
    assert_eq!(
        (audit.entries[0].what, audit.entries[0].why.as_deref()),
        (AuditAction::CancelRedrive, Some("enough"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_that_fail_or_are_closed_meanwhile_are_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    place.bad_orders(4).await;
    let page: LetterPage = place.get("/api/v1/letters").await.json();
    let ids: Vec<_> = page.letters.iter().map(|line| line.id).collect();
    place
        .idem
        .dead_letters()
        .discard(&ids[1], "elsewhere")
        .await
        .unwrap();
    let asked = json!({ "selection": { "ids": ids }, "rate": 1000, "deed": "run", "why": "x" });
    let bulk: BulkJob = place.post("/api/v1/bulk", asked).await.json();
    assert_eq!(bulk.total, 4);
    let end = place
        .bulk_until(bulk.id, |bulk| bulk.state == BulkState::Finished)
        .await;
    assert_eq!(
        (end.done, end.failed, end.skipped, end.problems.len()),
        (0, 3, 1, 3)
    );
    assert!(end.problems[0].error.contains("not in stock"));
    // Each became a new dead letter, which this job does not take.
    let page: LetterPage = place.get("/api/v1/letters").await.json();
    assert_eq!(page.letters.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rate_is_kept() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let place = Place::open_at(folder.path(), &clock).await;
    mended(&place, 6).await;
    let asked = json!({ "selection": { "filter": {} }, "rate": 10, "why": "x" });
    let bulk: BulkJob = place.post("/api/v1/bulk", asked).await.json();
    for turn in 1..=6 {
        place.bulk_until(bulk.id, |bulk| bulk.done == turn).await;
        for _ in 0..10 {
            // The ticker, the rules, the worker and its lease finish what a step wakes first.
            within(clock.asleep(4)).await;
            clock.advance(Duration::from_millis(10));
            place.bulk(bulk.id).await;
        }
    }
    place
        .bulk_until(bulk.id, |bulk| bulk.state == BulkState::Finished)
        .await;
    assert!(place.shelf.lock().unwrap().is_empty());
    let letters = place
        .idem
        .dead_letters()
        .list(&Filter::default().any_state())
        .await
        .unwrap();
    let after: Vec<_> = letters
        .iter()
        .map(|letter| letter.closed_at.unwrap().duration_since(bulk.at))
        .collect();
    assert_eq!(
        after
            .iter()
            .map(jiff::SignedDuration::as_millis)
            .collect::<Vec<_>>(),
        [0, 100, 200, 300, 400, 500]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_batch_is_settled_by_the_state_of_its_letters() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    mended(&place, 4).await;
    let asked = json!({ "selection": { "filter": {} }, "rate": 0.01, "deed": "run", "why": "x" });
    let bulk: BulkJob = place.post("/api/v1/bulk", asked).await.json();
    place.bulk_until(bulk.id, |bulk| bulk.done == 1).await;
    place.stop().await;

    // As a kill leaves it: the batch of the other three is stored; one ran, one was re-armed but
    // not run, and one was not reached.
    let idem = idem_runtime::Idem::open(folder.path()).unwrap();
    let shelf = Shelf::default();
    let of = shelf.clone();
    idem.register_handler("orders.place", move |order: PlaceOrder| {
        place_order(order, of.clone())
    });
    let letters = idem.dead_letters().by("ann").why("x");
    let open = letters.list(&Filter::default()).await.unwrap();
    assert_eq!(open.len(), 3);
    letters.run(&open[0].id).await.unwrap();
    letters.redrive(&open[1].id).await.unwrap();
    let key = format!("bulk/{}", bulk.id);
    let mut job: serde_json::Value =
        serde_json::from_slice(&idem.notes().get(&key).await.unwrap().unwrap()).unwrap();
    job["turn"] = open
        .iter()
        .map(|letter| json!([letter.id, uuid::Uuid::nil()]))
        .collect();
    job["cursor"] = json!(open[2].id);
    job["bulk"]["asked"]["rate"] = json!(1000.0);
    idem.notes()
        .write(vec![NoteChange::put(key, job.to_string())])
        .await
        .unwrap();
    idem.close().await.unwrap();
    drop((idem, letters));

    let place = Place::open(folder.path()).await;
    let end = place
        .bulk_until(bulk.id, |bulk| bulk.state == BulkState::Finished)
        .await;
    assert_eq!((end.done, end.failed, end.skipped), (3, 0, 1), "{end:?}");
    assert_eq!(
        (end.problems.len(), end.problems[0].letter),
        (1, open[1].id)
    );
    assert!(end.problems[0].error.contains("stopped during its run"));
    assert_eq!(
        shelf.lock().unwrap().len() + place.shelf.lock().unwrap().len(),
        2
    );
}
