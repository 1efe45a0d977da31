//! Letters that were not stored whole: a service runs them with what is filled in.

use idem_runtime::{DeadLetterId, Filter, Idem, dead_letters::REDACTED, idempotent};
use serde::Deserialize;
use serde_json::json;

use crate::served::Served;
use crate::support::{At, OrderError, folder};

const CARD: &str = "4111111111111111";

#[idempotent(name = "orders.charge", key = "order_no", retries = 0, redact(card_no))]
async fn charge(order_no: String, card_no: String) -> Result<usize, OrderError> {
    if card_no == CARD {
        Ok(card_no.len())
    } else {
        Err(OrderError::Refused(format!("{order_no} is declined")))
    }
}

#[derive(Deserialize)]
struct Charge {
    order_no: String,
    card_no: String,
}

async fn declined(idem: &Idem, order_no: &str) -> DeadLetterId {
    idem.register_handler("orders.charge", |Charge { order_no, card_no }: Charge| {
        charge(order_no, card_no)
    });
    assert!(
        idem.scope(charge(order_no.to_owned(), "4000".to_owned()))
            .await
            .is_err()
    );
    idem.dead_letters()
        .list(&Filter::default().key(order_no))
        .await
        .unwrap()[0]
        .id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_run_with_what_was_never_stored() {
    let served = Served::start(1).await;
    let id = declined(&served.idem, "C-1").await.to_string();
    let at = served.at();
    let run = ["dlq", "redrive", &id, "--yes", "--why", "they told us"];
    let said = at.idem(&run).await.ended(1);
    assert!(
        said.err.contains("without `card_no`") && said.err.contains("--payload"),
        "{said:?}"
    );
    assert!(
        at.idem(&["dlq", "show", &id])
            .await
            .well()
            .out
            .contains("--payload")
    );

    let payload = json!({ "order_no": "C-1", "card_no": CARD }).to_string();
    let edited = at
        .told(
            &["dlq", "edit", &id, "--payload", "-", "--why", "x"],
            &payload,
        )
        .await
        .well();
    assert!(
        edited.out.contains("`card_no` is not stored") && edited.out.contains("--payload"),
        "{edited:?}"
    );

    let with = |payload: &'static str| [&run[..], &["--payload", payload]].concat();
    let said = at
        .told(&with("-"), &payload.replace(CARD, REDACTED))
        .await
        .ended(1);
    assert!(said.err.contains("`card_no` is filled in"), "{said:?}");
    let said = at.told(&with("-"), "{").await.ended(2);
    assert!(
        said.err.contains("the standard input is not a payload"),
        "{said:?}"
    );
    at.idem(&with("/no/such/file")).await.ended(2);
    assert_eq!(
        at.json(&["dlq", "show", &id]).await["letter"]["state"],
        "open"
    );

    let said = at.told(&with("-"), &payload).await.well();
    assert_eq!(said.out, "it ran, and its result is 16\n");
    for words in [
        &["dlq", "show", &id][..],
        &["dlq", "export", "--state", "any"],
        &["explain", "orders.charge", "C-1"],
    ] {
        let said = at.idem(words).await.well();
        assert!(
            said.out.contains("C-1") && !said.out.contains("41111"),
            "{said:?}"
        );
    }
    let said = at.idem(&run).await.ended(1);
    assert!(!said.err.contains("--payload"), "it is closed: {said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_is_for_one_letter_of_a_service() {
    let served = Served::start(2).await;
    let (data, ids) = folder(1).await;
    let [one, two, there] = [served.ids[0], served.ids[1], ids[0]].map(|id| id.to_string());
    let rest = ["--payload", "-", "--yes", "--why", "x"];
    for (at, which, why) in [
        (
            At::folder(data.path()),
            &[there.as_str()][..],
            "this program has none",
        ),
        (served.at(), &[one.as_str(), two.as_str()], "give one id"),
        (served.at(), &["--all"], "cannot be used with"),
        (
            served.at(),
            &[one.as_str(), "--rearm"],
            "cannot be used with",
        ),
    ] {
        let said = at
            .told(&[&["dlq", "redrive"], which, &rest].concat(), "{}")
            .await
            .ended(2);
        assert!(
            said.err.contains(why) && said.out.is_empty(),
            "{which:?}: {said:?}"
        );
    }
    // A letter that was stored whole can be run with another payload too; that one is kept.
    let fine = json!({ "order": { "order_no": "A-1", "qty": 1, "note": "" } }).to_string();
    let said = served
        .at()
        .told(
            &[&["dlq", "redrive", one.as_str()], &rest[..]].concat(),
            &fine,
        )
        .await
        .well();
    assert_eq!(said.out, "it ran, and its result is 100\n");
    assert_eq!(
        served.at().json(&["dlq", "show", &one]).await["letter"]["payload"]["order"]["qty"],
        1
    );
}
