//! How long the audit log is kept.

use std::time::Duration;

use idem_ops::service::{AuditPage, Bulk, BulkState, LetterPage, Outcome};
use idem_runtime::ledger::NoteChange;
use idem_runtime::testing::ManualClock;
use serde_json::json;

use crate::common::until;
use crate::place::Place;

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 60 * 60)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_go_after_90_days_and_younger_ones_stay_ended_or_not() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let place = Place::open_at(folder.path(), &clock).await;
    // More than are removed at once.
    place.bad_orders(251).await;
    let page: LetterPage = place.get("/api/v1/letters?limit=500").await.json();
    let (last, ids) = page.letters.split_last().unwrap();
    let ids: Vec<_> = ids.iter().map(|letter| letter.id).collect();
    let asked =
        json!({ "selection": { "ids": ids }, "deed": "discard", "rate": 1000, "why": "old" });
    let bulk: Bulk = place.post("/api/v1/bulk", asked).await.json();
    place
        .bulk_in_time(&clock, bulk.id, |bulk| bulk.state == BulkState::Finished)
        .await;

    clock.advance(days(60));
    let path = format!("/api/v1/letters/{}/discard", last.id);
    assert_eq!(
        place.post(&path, json!({ "why": "late" })).await.status,
        200
    );
    let audit: AuditPage = place.get("/api/v1/audit?limit=500").await.json();
    assert_eq!(audit.entries.len(), 252);
    // As a kill in the middle of the act leaves it.
    let mut young = audit.entries[0].clone();
    young.outcome = Outcome::Begun;
    let note = NoteChange::put(
        format!("audit/{}", young.id),
        serde_json::to_vec(&young).unwrap(),
    );
    place.idem.notes().write(vec![note]).await.unwrap();

    let look = async || {
        clock.advance(Duration::from_secs(5));
        place
            .get("/api/v1/audit?limit=500")
            .await
            .json::<AuditPage>()
    };
    clock.advance(days(29));
    look().await;
    assert_eq!(
        place
            .idem
            .notes()
            .list("audit/", None, 500)
            .await
            .unwrap()
            .len(),
        252,
        "89 days are not 90"
    );
    clock.advance(days(2));
    let left = until(look, |audit| audit.entries.len() == 1).await;
    assert_eq!((&left.entries[0], left.next), (&young, None));
    assert_eq!(
        place
            .idem
            .notes()
            .list("audit/", None, 500)
            .await
            .unwrap()
            .len(),
        1
    );
    // The log goes on where it is.
    clock.advance(days(60));
    until(look, |audit| audit.entries.is_empty()).await;
    assert!(place.order("B-1", 11).await.is_err());
    let path = format!("/api/v1/letters/{}/discard", place.letter_of("B-1").await);
    assert_eq!(place.post(&path, json!({ "why": "new" })).await.status, 200);
    assert_eq!(look().await.entries.len(), 1);
}
