//! What is erased over the API, and what is sealed.

use idem_ops::service::{
    AuditAction, AuditPage, Erasure, EventKind, LetterView, Outcome, Redriven, RunOutcome, Timeline,
};
use idem_ops::{Auth, service::KeyState};
use idem_runtime::{Error, Idem, SealKeys, idempotent};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::place::{Place, TOKEN};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_erased_once_it_is_settled_and_the_audit_log_says_by_whom_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path()).await;
    assert!(place.order("A-1", 11).await.is_err());
    let id = place.letter_of("A-1").await;
    let body = |why: &str| json!({ "handler": "orders.place", "key": "A-1", "why": why });
    place
        .post("/api/v1/erase", body(" "))
        .await
        .problem(400, "invalid");
    let redrive = format!("/api/v1/letters/{id}/redrive");
    place
        .post(&redrive, json!({ "why": "it is sent again" }))
        .await;
    let refused = place.post("/api/v1/erase", body("request 17")).await;
    assert!(refused.problem(409, "unsettled").detail.contains("waits"));
    assert_eq!(place.order("A-1", 1).await.unwrap(), 100);

    let erased: Erasure = place.post("/api/v1/erase", body("request 17")).await.json();
    assert_eq!((&erased.letters[..], erased.result), (&[id][..], true));
    assert!(
        erased
            .not_reached
            .iter()
            .any(|place| place.contains("backups"))
    );
    let view: LetterView = place.get(&format!("/api/v1/letters/{id}")).await.json();
    assert_eq!(view.letter.payload, ().into());
    let story: Timeline = place
        .get("/api/v1/explain?handler=orders.place&key=A-1")
        .await
        .json();
    assert!(
        matches!(story.now, KeyState::Done { result: None, .. }),
        "{story:?}"
    );
    let (who, why) = (Some("ann".to_owned()), Some("request 17".to_owned()));
    let erased = EventKind::Erased { who, why };
    assert!(
        story.events.iter().any(|event| event.what == erased),
        "{story:?}"
    );
    assert!(
        place
            .order("A-1", 1)
            .await
            .unwrap_err()
            .to_string()
            .contains("was erased")
    );

    let audit: AuditPage = place.get("/api/v1/audit").await.json();
    let [done, refused, ..] = &audit.entries[..] else {
        panic!("{audit:?}")
    };
    assert_eq!(
        (done.what, &done.outcome),
        (AuditAction::Erase, &Outcome::Done)
    );
    assert_eq!(
        (&*done.who, done.why.as_deref()),
        ("ann", Some("request 17"))
    );
    assert_eq!(done.key.as_deref(), Some("A-1"));
    assert!(matches!(&refused.outcome, Outcome::Refused(why) if why.contains("waits")));
}

const CARD: &str = "4111-2222-3333-4444";

#[derive(Clone, Serialize, Deserialize)]
struct Charge {
    order_no: String,
    card_no: String,
}

#[idempotent(
    name = "orders.charge",
    key = "charge.order_no",
    retries = 0,
    redact("charge.card_no")
)]
async fn charge(charge: Charge) -> Result<usize, Error> {
    // The order's number says that the bank is back.
    match charge.order_no.as_str() {
        "A-1" if charge.card_no == CARD => Err(Error::OutsideHandler),
        _ => Ok(charge.card_no.len()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sealed_is_shown_to_no_one_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let other_card = "5500";
    for keys in [true, false] {
        let builder = match keys {
            true => Idem::builder().seal(SealKeys::new("2026-11", &[7; 32])),
            false => Idem::builder(),
        };
        let auth = Auth::token(TOKEN).with_token("ann", "ann's own token");
        let place = Place::new(builder.open(folder.path()).unwrap(), auth).await;
        place.idem.register_handler("orders.charge", charge);
        if keys {
            let arguments = Charge {
                order_no: "A-1".into(),
                card_no: CARD.into(),
            };
            assert!(place.idem.scope(charge(arguments)).await.is_err());
        }
        let id = place.letter_of("A-1").await;
        let path = format!("/api/v1/letters/{id}");
        let answer = place.get(&path).await;
        assert!(!answer.text.contains("4111"), "{}", answer.text);
        let view: LetterView = answer.json();
        assert_eq!(
            (view.can_run, &view.redacted),
            (keys, &Vec::new()),
            "{view:?}"
        );
        let run = json!({ "run": true, "why": "the bank is back" });
        let redrive = format!("{path}/redrive");
        if keys {
            place.stop().await;
            continue;
        }
        assert!(view.why_not.unwrap().contains("`2026-11`"));
        let lost = place.post(&redrive, run).await;
        assert!(lost.problem(409, "cannot_run").detail.contains("`2026-11`"));
        let payload = json!({ "charge": { "order_no": "A-1", "card_no": other_card } });
        let run = json!({ "run": true, "payload": payload, "why": "they told us" });
        let ran: Redriven = place.post(&redrive, run).await.json();
        assert_eq!(ran.ran, Some(RunOutcome::Done(other_card.len().into())));
    }
}
