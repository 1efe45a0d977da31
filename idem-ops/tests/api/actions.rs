//! Actions on single letters, and their entries in the audit log.

use idem_ops::service::{
    AuditAction, AuditPage, LetterPage, LetterView, Outcome, Redriven, RunOutcome,
};
use idem_runtime::LetterState;
use serde_json::json;

use crate::place::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_is_edited_and_run_successfully() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    assert!(place.order("A-1", 11).await.is_err());
    let id = place.letter_of("A-1").await;
    let at = |act: &str| format!("/api/v1/letters/{id}/{act}");

    // Unchanged, it fails again, and a new letter is open.
    let failed: Redriven = place
        .post(&at("redrive"), json!({ "run": true, "why": "try" }))
        .await
        .json();
    let Some(RunOutcome::Failed {
        error,
        letter: Some(next),
    }) = failed.ran
    else {
        panic!("{failed:?}")
    };
    assert!(error.contains("11 pieces are not in stock"), "{error}");
    assert_eq!(failed.letter.letter.state, LetterState::Redriven);
    place
        .post(&at("redrive"), json!({ "run": true, "why": "again" }))
        .await
        .problem(409, "letter_closed");

    let at = |act: &str| format!("/api/v1/letters/{next}/{act}");
    // A payload that does not fit the handler or has another key does not run.
    let unfit = json!({ "payload": { "order": { "qty": "many" } }, "why": "x" });
    assert_eq!(place.post(&at("edit"), unfit).await.status, 200);
    place
        .post(&at("redrive"), json!({ "run": true, "why": "x" }))
        .await
        .problem(422, "payload_unfit");
    let good = json!({ "payload": { "order": { "order_no": "A-1", "qty": 3 } }, "why": "the customer said 3" });
    let view: LetterView = place.post(&at("edit"), good).await.json();
    assert_eq!(
        (view.letter.history.len(), view.letter.state),
        (2, LetterState::Open)
    );
    let done: Redriven = place
        .post(&at("redrive"), json!({ "run": true, "why": "mended" }))
        .await
        .json();
    assert_eq!(done.ran, Some(RunOutcome::Done(300.into())));
    assert_eq!(place.shelf.lock().unwrap()["A-1"], 1);
    // The caller's duplicate gets the result of the redrive.
    assert_eq!(place.order("A-1", 3).await.unwrap(), 300);
    assert_eq!(place.shelf.lock().unwrap()["A-1"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_that_does_not_run_waits_for_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    assert!(place.order("A-1", 11).await.is_err());
    let path = format!("/api/v1/letters/{}/redrive", place.letter_of("A-1").await);
    let redriven: Redriven = place
        .post(&path, json!({ "why": "it is sent again" }))
        .await
        .json();
    assert_eq!(
        (redriven.ran, redriven.letter.letter.state),
        (None, LetterState::Redriven)
    );
    assert!(place.shelf.lock().unwrap().is_empty());
    assert_eq!(place.order("A-1", 1).await.unwrap(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discard_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    assert!(place.order("A-1", 11).await.is_err());
    let id = place.letter_of("A-1").await;
    let at = |act: &str| format!("/api/v1/letters/{id}/{act}");
    place
        .post(&at("restore"), json!({ "why": "x" }))
        .await
        .problem(409, "letter_closed");
    let view: LetterView = place
        .post(&at("discard"), json!({ "why": "a test order" }))
        .await
        .json();
    assert_eq!(view.letter.closed_why.as_deref(), Some("a test order"));
    assert!(!view.can_run && view.why_not.unwrap().contains("restore it first"));
    let page: LetterPage = place.get("/api/v1/letters").await.json();
    assert!(page.letters.is_empty() && page.total == 0);
    let view: LetterView = place
        .post(&at("restore"), json!({ "why": "it was none" }))
        .await
        .json();
    assert_eq!((view.letter.state, view.can_run), (LetterState::Open, true));
    let page: LetterPage = place.get("/api/v1/letters").await.json();
    assert_eq!(page.letters.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_has_every_change_in_its_order_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    place.bad_orders(8).await;
    let page: LetterPage = place.get("/api/v1/letters").await.json();
    let discards = page.letters.iter().map(|line| {
        let path = format!("/api/v1/letters/{}/discard", line.id);
        let place = &place;
        async move {
            place
                .post(&path, json!({ "why": format!("of {path}") }))
                .await
        }
    });
    assert!(
        futures_util::future::join_all(discards)
            .await
            .iter()
            .all(|answer| answer.status == 200)
    );
    let path = format!("/api/v1/letters/{}/discard", page.letters[0].id);
    place
        .post(&path, json!({ "why": "twice" }))
        .await
        .problem(409, "letter_closed");

    let audit: AuditPage = place.get("/api/v1/audit").await.json();
    assert_eq!((audit.entries.len(), audit.next), (9, None));
    assert!(
        matches!(&audit.entries[0].outcome, Outcome::Refused(why) if why.contains("discarded"))
    );
    assert_eq!(
        (
            audit.entries[0].who.as_str(),
            audit.entries[0].why.as_deref()
        ),
        ("ann", Some("twice"))
    );
    // Oldest first: each action is in its letter's history, not before the previous entry's action.
    let mut before = None;
    for entry in audit.entries[1..].iter().rev() {
        assert_eq!(
            (entry.what, &entry.outcome),
            (AuditAction::Discard, &Outcome::Done)
        );
        let letter = place
            .idem
            .dead_letters()
            .get(&entry.letter.unwrap())
            .await
            .unwrap()
            .unwrap();
        let act = letter.history[0].at;
        assert!(before <= Some(act), "{entry:?}");
        before = Some(act);
        assert_eq!(entry.key.as_deref(), Some(letter.key.as_str()));
    }

    place.stop().await;
    let place = Place::open(folder.path()).await;
    let first: AuditPage = place.get("/api/v1/audit?limit=4").await.json();
    assert_eq!(first.entries[..], audit.entries[..4]);
    let second: AuditPage = place
        .get(&format!("/api/v1/audit?after={}", first.next.unwrap()))
        .await
        .json();
    assert_eq!(second.entries[..], audit.entries[4..]);
}
