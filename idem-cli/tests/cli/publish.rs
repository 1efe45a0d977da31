//! Messages that go back to the broker that they came from.

use std::sync::{Arc, Mutex};

use idem_runtime::{Filter, Idem, LetterState, Origin};
use serde_json::json;

use crate::served::Served;
use crate::support::{At, folder, order, place_order};

/// A header that would write to the terminal, and more.
const HOSTILE: &str = "\u{1b}]0;ran\u{7}\r\nState       redriven";

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Has the broker bring orders that die; their letters' ids.
async fn brought(idem: &Idem, orders: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for order_no in orders {
        let origin = Origin::new("kafka", "orders")
            .position("partition 3, offset 17")
            .header("trace", HOSTILE)
            .header("traceparent", TRACEPARENT);
        assert!(
            idem.deliver(origin, place_order(order(order_no, "out of stock")))
                .await
                .output
                .is_err()
        );
        ids.push(
            idem.dead_letters()
                .list(&Filter::default().key(*order_no))
                .await
                .unwrap()[0]
                .id
                .to_string(),
        );
    }
    ids
}

/// What was published, in order.
fn publisher(idem: &Idem) -> Arc<Mutex<Vec<String>>> {
    let published = Arc::<Mutex<Vec<String>>>::default();
    let to = Arc::clone(&published);
    idem.register_publisher("kafka:orders", move |letter| {
        let to = Arc::clone(&to);
        async move {
            to.lock().unwrap().push(letter.key);
            Ok::<(), String>(())
        }
    });
    published
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_goes_back_and_who_and_why_stay() {
    let served = Served::start(0).await;
    let at = served.at();
    let id = &brought(&served.idem, &["K-1"]).await[0];
    let redrive = [
        "dlq",
        "redrive",
        id,
        "--publish",
        "--yes",
        "--why",
        "mended",
    ];

    // It says so before it asks.
    let said = at.idem(&["dlq", "redrive", id, "--publish"]).await.ended(1);
    assert!(
        said.err.contains("no publisher for `kafka:orders`"),
        "{said:?}"
    );
    let show = at.idem(&["dlq", "show", id]).await.well().out;
    assert!(
        show.contains("Came from   kafka:orders, partition 3, offset 17\n"),
        "{show}"
    );
    assert!(
        show.contains("\nTrace       4bf92f3577b34da6a3ce929d0e0e4736\n"),
        "{show}"
    );
    assert!(
        show.contains("Not sent    this service has no publisher"),
        "{show}"
    );
    assert!(
        show.contains(r"Header      trace: \u{1b}]0;ran\u{7}\r\nState") && !show.contains('\u{1b}'),
        "{show}"
    );

    served.idem.register_publisher("kafka:orders", async |_| {
        Err::<(), _>("the topic is \u{1b}[2Jgone")
    });
    let said = at.idem(&redrive).await.ended(1);
    assert!(
        said.err.contains(r"stays open: the topic is \u{1b}[2Jgone"),
        "{said:?}"
    );
    assert_eq!(
        at.json(&["dlq", "show", id]).await["letter"]["state"],
        "open"
    );

    let published = publisher(&served.idem);
    let said = at.idem(&redrive).await.well();
    assert_eq!(
        said.out,
        "its message is published to kafka:orders: it runs when the broker brings it\n"
    );
    assert_eq!(*published.lock().unwrap(), ["K-1"]);
    let letter = at.json(&["dlq", "show", id]).await["letter"].clone();
    assert_eq!(
        (&letter["state"], &letter["closed_why"]),
        (&json!("redriven"), &json!("mended"))
    );
    assert_eq!(
        letter["history"][2]["by"],
        json!({ "who": "token", "why": "mended" })
    );
    let said = at.idem(&redrive).await.ended(1);
    assert!(said.err.contains("redriven"), "{said:?}");
    assert_eq!(published.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_go_back() {
    let served = Served::start(1).await;
    let at = served.at();
    brought(&served.idem, &["K-1", "K-2", "K-3"]).await;
    let published = publisher(&served.idem);
    let all = [
        "dlq",
        "redrive",
        "--all",
        "--publish",
        "--rate",
        "500",
        "--yes",
        "--why",
        "back",
        "--json",
    ];
    let bulk = at.idem(&all).await.ended(1).json();
    let counts = [&bulk["asked"]["deed"], &bulk["done"], &bulk["failed"]];
    assert_eq!(
        counts,
        [&json!("publish"), &json!(3), &json!(1)],
        "{bulk:#}"
    );
    let error = bulk["problems"][0]["error"].as_str().unwrap();
    assert!(error.contains("no broker brought it"), "{error}");
    let mut published = published.lock().unwrap().clone();
    published.sort();
    assert_eq!(published, ["K-1", "K-2", "K-3"]);
    assert!(
        at.idem(&["dlq", "bulk"])
            .await
            .well()
            .out
            .contains("publishing")
    );
    let open = served
        .idem
        .dead_letters()
        .list(&Filter::default())
        .await
        .unwrap();
    assert_eq!(
        (open.len(), open[0].id, open[0].state),
        (1, served.ids[0], LetterState::Open)
    );
}

#[tokio::test]
async fn a_folder_has_no_publishers() {
    let (data, ids) = folder(1).await;
    let (at, id) = (At::folder(data.path()), ids[0].to_string());
    for which in [id.as_str(), "--all"] {
        let said = at
            .idem(&["dlq", "redrive", which, "--publish", "--yes", "--why", "x"])
            .await
            .ended(2);
        assert!(
            said.err.contains("`--publish` is for a service (`--url`)"),
            "{said:?}"
        );
    }
    for other in ["--rearm", "--payload=-"] {
        let said = at
            .idem(&["dlq", "redrive", &id, "--publish", other])
            .await
            .ended(2);
        assert!(said.err.contains("cannot be used with"), "{said:?}");
    }
    assert_eq!(at.json(&["dlq", "list"]).await["total"], 1);
}
