//! Payloads stay the text that was written, and one that cannot be read stops nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use idem_runtime::ledger::{Ledger, SledLedger};
use idem_runtime::protocol::{AttemptOutcome, Budget, Claim, Failed, RecordId, Reply, Step};
use idem_runtime::testing::ManualClock;
use idem_runtime::{Filter, Idem, Origin, idempotent};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::editing::edit;
use crate::served::Served;
use crate::support::{At, OrderError, TOKEN, bury, order};

#[derive(Clone, Serialize, Deserialize)]
struct Transfer {
    order_no: String,
    wei: u128,
    /// Handed on as it came.
    fee: Box<RawValue>,
    to: String,
}

#[idempotent(name = "transfers.send", key = "order_no", retries = 0)]
async fn send(transfer: Transfer) -> Result<(u128, Box<RawValue>), OrderError> {
    if transfer.to.is_empty() {
        return Err(OrderError::Refused("to whom?".to_owned()));
    }
    Ok((transfer.wei, transfer.fee))
}

fn message(order_no: &str, to: &str) -> String {
    format!(
        r#"{{"order_no":"{order_no}","wei":20000000000000000001,"fee":12345678901234567.890,"to":"{to}"}}"#
    )
}

fn payload(order_no: &str, to: &str) -> String {
    format!(r#"{{"transfer":{}}}"#, message(order_no, to))
}

const RESULT: &str = "[20000000000000000001,12345678901234567.890]";

/// Has the broker bring a transfer that dies; its letter's id.
async fn dead(idem: &Idem, order_no: &str) -> String {
    let transfer = serde_json::from_str(&message(order_no, "")).unwrap();
    assert!(
        idem.deliver(Origin::new("rabbitmq", "transfers"), send(transfer))
            .await
            .output
            .is_err()
    );
    idem.dead_letters()
        .list(&Filter::default().key(order_no))
        .await
        .unwrap()[0]
        .id
        .to_string()
}

/// A JSON text as it is.
async fn api(served: &Served, path: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .get(format!("{}/api/v1/{path}", served.url()))
        .bearer_auth(TOKEN);
    request.send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_128_bits_and_long_decimals_stay_as_written_from_the_call_to_the_export() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let served = Served::start(0).await;
    let (at, idem) = (served.at(), &served.idem);
    idem.register_handler("transfers.send", send);
    let published = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let to = Arc::clone(&published);
    idem.register_publisher("rabbitmq:transfers", move |letter| {
        to.lock().unwrap().push(letter.message());
        std::future::ready(Ok::<(), String>(()))
    });

    let id = &*dead(idem, "T-1").await;
    let exact = payload("T-1", "");
    for text in [
        api(&served, &format!("letters/{id}")).await,
        at.idem(&["dlq", "export"]).await.well().out,
    ] {
        assert!(text.contains(&format!(r#""payload":{exact},"#)), "{text}");
    }
    let lines = "    \"wei\": 20000000000000000001,\n    \"fee\": 12345678901234567.890,\n";
    let show = at.idem(&["dlq", "show", id]).await.well().out;
    let json = at.idem(&["dlq", "show", id, "--json"]).await.well().out;
    assert!(
        show.contains(lines) && json.contains("\"fee\": 12345678901234567.890,\n"),
        "{show}{json}"
    );

    // The edit changes another field.
    let said = edit(&at, id, "sed -i 's/\"to\": \"\"/\"to\": \"ann\"/' \"$1\"")
        .await
        .well();
    assert!(said.out.contains("is edited"), "{said:?}");
    let export = at.idem(&["dlq", "export"]).await.well().out;
    assert!(
        export.contains(&format!(r#""payload":{},"#, payload("T-1", "ann"))),
        "{export}"
    );
    assert!(
        export.contains(&format!(r#""deed":{{"edited":{exact}}}"#)),
        "what it was: {export}"
    );
    let said = at
        .idem(&["dlq", "redrive", id, "--yes", "--why", "we know to whom"])
        .await
        .well();
    assert_eq!(said.out, format!("it ran, and its result is {RESULT}\n"));
    let explained = at
        .idem(&["explain", "transfers.send", "T-1"])
        .await
        .well()
        .out;
    assert!(
        explained.contains("  20000000000000000001,\n  12345678901234567.890\n"),
        "{explained}"
    );

    // With a payload for one run, and back to the broker.
    let id = &*dead(idem, "T-2").await;
    let with = [
        "dlq",
        "redrive",
        id,
        "--payload",
        "-",
        "--yes",
        "--why",
        "x",
    ];
    let said = at.told(&with, &payload("T-2", "ann")).await.well();
    assert_eq!(said.out, format!("it ran, and its result is {RESULT}\n"));
    let id = &*dead(idem, "T-3").await;
    edit(&at, id, "sed -i 's/\"to\": \"\"/\"to\": \"ann\"/' \"$1\"")
        .await
        .well();
    at.idem(&["dlq", "redrive", id, "--publish", "--yes", "--why", "x"])
        .await
        .well();
    assert_eq!(
        *published.lock().unwrap(),
        [message("T-3", "ann").into_bytes()]
    );

    // The folder alone says the same.
    let data = served.data.path().to_owned();
    idem.close().await.unwrap();
    let export = At::folder(&data)
        .idem(&["dlq", "export", "--state", "any"])
        .await
        .well()
        .out;
    for order_no in ["T-1", "T-2", "T-3"] {
        assert!(
            export.contains(&format!(r#""payload":{},"#, payload(order_no, "ann"))),
            "{export}"
        );
    }
}

/// A letter of a message that is nested so deeply, as versions without a limit took it.
async fn nested(data: &std::path::Path, depth: usize) {
    let ledger = SledLedger::open(
        data,
        1 << 20,
        Arc::new(ManualClock::default()),
        "before".to_owned(),
    )
    .unwrap();
    let id = RecordId::new("orders.place", format!("deep {depth}"));
    let claim = Claim::new(
        "before",
        format!(
            r#"{{"order":{}{}}}"#,
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        )
        .into_bytes(),
        Budget::new(0, Duration::from_secs(60)),
        Duration::from_secs(30),
    );
    let Reply::Run(started) = ledger.apply(&id, Step::Claim(claim)).await.unwrap() else {
        panic!("it was claimed")
    };
    let failed =
        Failed::new(started.token, AttemptOutcome::Failed, Duration::ZERO).error("out of stock");
    assert!(matches!(
        ledger.apply(&id, Step::Fail(failed)).await.unwrap(),
        Reply::DeadLettered(_)
    ));
    ledger.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_are_nested_deeper_than_is_taken_now_are_listed_shown_and_exported() {
    let data = tempfile::tempdir().unwrap();
    for depth in [125, 200, 5000] {
        nested(data.path(), depth).await;
    }
    let idem = Idem::open(data.path()).unwrap();
    let mut ids = bury(&idem, [order("A-1", "out of stock")]).await;
    let deep = idem
        .dead_letters()
        .list(&Filter::default().key("deep 5000"))
        .await
        .unwrap()
        .remove(0)
        .id;
    ids.push(deep);
    let served = Served::of(data, idem, ids, |router| router).await;
    let at = served.at();
    let export = at.idem(&["dlq", "export"]).await.well().out;
    assert_eq!(export.lines().count(), 4, "{export}");
    for depth in [125, 200, 5000] {
        let payload = format!(
            r#""payload":{{"order":{}{}}},"#,
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        );
        assert!(export.contains(&payload), "{depth}");
    }
    assert!(
        at.idem(&["dlq", "show", &deep.to_string()])
            .await
            .well()
            .out
            .contains("deep 5000")
    );
    // An edit is another matter.
    let with = [
        "dlq",
        "edit",
        &deep.to_string(),
        "--payload",
        "-",
        "--why",
        "x",
    ];
    let said = at
        .told(
            &with,
            &format!("{{\"order\":{}1{}}}", "[".repeat(100), "]".repeat(100)),
        )
        .await
        .ended(2);
    assert!(
        said.err.contains("nested 101 deep, and 100 is the limit"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_on_past_letters_that_cannot_be_read_and_names_them() {
    let data = tempfile::tempdir().unwrap();
    let idem = Idem::open(data.path()).unwrap();
    let ids = bury(
        &idem,
        (1..=4).map(|n| order(&format!("A-{n}"), "out of stock")),
    )
    .await;
    let (strange, gone) = (ids[1].to_string(), ids[2].to_string());
    let (of_another_version, removed) = (strange.clone(), gone.clone());
    let spoil = move |request: Request, next: Next| {
        let (strange, gone) = (of_another_version.clone(), removed.clone());
        async move {
            let path = request.uri().path().to_owned();
            if path.ends_with(&strange) {
                return axum::Json(serde_json::json!({ "letter": { "id": strange } }))
                    .into_response();
            }
            if path.ends_with(&gone) {
                return Response::builder()
                    .status(404)
                    .body("{\"detail\":\"it is gone\"}".into())
                    .unwrap();
            }
            next.run(request).await
        }
    };
    let served = Served::of(data, idem, ids, |router| router.layer(from_fn(spoil))).await;
    let said = served.at().idem(&["dlq", "export"]).await.ended(1);
    let keys = said.out.lines().map(|line| {
        let letter: serde_json::Value = serde_json::from_str(line).unwrap();
        letter["key"].as_str().unwrap().to_owned()
    });
    assert_eq!(keys.collect::<Vec<_>>(), ["A-4", "A-1"]);
    let told: Vec<_> = said.err.lines().collect();
    assert_eq!(told.len(), 2, "{said:?}");
    assert_eq!(
        told[0],
        format!("idem: letter {gone} is left out: it is gone")
    );
    assert!(
        told[1].starts_with(&format!("idem: letter {strange} is left out: ")),
        "{said:?}"
    );
    assert!(
        told[1].contains("missing field") && told[1].contains("the same version"),
        "{said:?}"
    );
}
