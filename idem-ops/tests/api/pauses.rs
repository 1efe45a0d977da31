//! Handlers that people pause and resume.

use std::time::Duration;

use idem_ops::service::{
    AuditAction, AuditPage, Outcome, Pause, PauseCause, PauseList, Service, Stats,
};
use idem_runtime::testing::ManualClock;
use serde_json::json;

use crate::place::{Place, send_mail};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_is_paused_and_resumed_and_the_audit_log_says_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    let asked = json!({ "handler": "orders.place", "why": "the bank moves" });
    let pause: Pause = place.post("/api/v1/pauses", asked).await.json();
    assert_eq!(
        (pause.cause, pause.why.as_str(), pause.by.is_some()),
        (PauseCause::Person, "the bank moves", true)
    );
    assert!(place.order("A-1", 1).await.is_err());
    assert!(place.shelf.lock().unwrap().is_empty());

    let list: PauseList = place.get("/api/v1/pauses").await.json();
    assert_eq!(list.pauses[0].handler, "orders.place");
    assert_eq!(list.pauses[0].turned_away, 1);
    let stats: Stats = place.get("/api/v1/stats").await.json();
    assert_eq!(stats.pauses.len(), 1);

    let resume = "/api/v1/pauses?handler=orders.place&why=it%20has%20moved";
    let lifted: Pause = place.delete(resume).await.json();
    assert_eq!(lifted.why, "the bank moves");
    assert_eq!(place.order("A-1", 1).await.unwrap(), 100);
    let again = place.delete(resume).await;
    again.problem(409, "not_paused");

    let log: AuditPage = place.get("/api/v1/audit").await.json();
    let seen: Vec<_> = log
        .entries
        .iter()
        .map(|entry| {
            let (why, handler) = (entry.why.as_deref(), entry.handler.as_deref());
            (entry.what, why, handler, entry.outcome.clone())
        })
        .collect();
    let refused = Outcome::Refused("`orders.place` is not paused".to_owned());
    let (moved, handler) = (Some("it has moved"), Some("orders.place"));
    assert_eq!(
        seen,
        [
            (AuditAction::Resume, moved, handler, refused),
            (AuditAction::Resume, moved, handler, Outcome::Done),
            (
                AuditAction::Pause,
                Some("the bank moves"),
                handler,
                Outcome::Done
            ),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_wants_a_reason_and_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    for asked in [
        json!({ "handler": "orders.place", "why": " " }),
        json!({ "handler": "", "why": "the bank moves" }),
    ] {
        let answer = place.post("/api/v1/pauses", asked).await;
        answer.problem(400, "invalid");
    }
    let list: PauseList = place.get("/api/v1/pauses").await.json();
    assert!(list.pauses.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_no_handler_has_is_refused_with_the_nearest_ones() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    let mail = place.idem.scope(send_mail("ann@example.org".into()));
    assert!(mail.await.is_err());
    let typo = json!({ "handler": "orders.plaec", "why": "the bank moves" });
    let answer = place.post("/api/v1/pauses", typo).await;
    let detail = answer.problem(404, "no_such_handler").detail;
    assert_eq!(
        detail,
        "no handler `orders.plaec` is known to this ledger. Did you mean `orders.place`, \
         `mails.send`? To pause it all the same, give `--force` (`force` in the API)"
    );
    let list: PauseList = place.get("/api/v1/pauses").await.json();
    assert!(list.pauses.is_empty());

    let new = json!({ "handler": "orders.new", "why": "not yet", "force": true });
    let pause: Pause = place.post("/api/v1/pauses", new).await.json();
    assert_eq!(pause.handler, "orders.new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_names_what_is_paused_and_stays_unless_the_service_says_otherwise() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
    let place = Place::open_at(folder.path(), &clock).await;
    let strict = Service::read_only(place.idem.clone()).not_ready_while_paused();
    assert!(strict.readiness().await.ready);
    strict.by("ann").pause("orders.place", "why").await.unwrap();
    clock.advance(Duration::from_secs(5));
    let answer = place.request("GET", "/readyz", None, None).await;
    let text = "ready\npaused: orders.place\n";
    assert_eq!((answer.status, answer.text.as_str()), (200, text));
    assert_eq!(strict.readiness().await.problems, ["paused: orders.place"]);
}
