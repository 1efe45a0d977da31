//! A letter of a key that another message has.

use idem_runtime::{DeadLetterId, Idem, Origin, Verdict};

use crate::served::Served;
use crate::support::{order, place_order};

/// As a consumer does with a message that is refused.
async fn refused(idem: &Idem, qty: u32) -> DeadLetterId {
    let order = crate::support::PlaceOrder {
        qty,
        ..order("A-1", "out of stock")
    };
    let (bytes, origin) = (
        serde_json::to_vec(&order).unwrap(),
        Origin::new("rabbitmq", "orders"),
    );
    let verdict = idem
        .deliver(origin.clone(), place_order(order))
        .await
        .verdict;
    let Verdict::Refused(refusal) = verdict else {
        panic!("{verdict:?}")
    };
    idem.bury_refused(&refusal, "m-7", &bytes, origin)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_found_by_the_order_s_key_and_tells_what_differs_and_what_to_do() {
    let served = Served::start(1).await;
    let (at, id) = (served.at(), refused(&served.idem, 34).await.to_string());
    let list = at.idem(&["dlq", "list", "--key", "A-1"]).await.well().out;
    assert!(
        list.contains(&id)
            && list.contains("key reused")
            && list.contains(&served.ids[0].to_string()),
        "{list}"
    );
    let shown = at.idem(&["dlq", "show", &id]).await.well().out;
    for part in [
        "Key         A-1\n",
        "Reason      key reused\n",
        "dead letter",
        "order.qty",
        "12",
        "34",
        "key of its own",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    assert!(!shown.contains("decode"), "{shown}");
    let told = at
        .idem(&["explain", "orders.place", "A-1"])
        .await
        .well()
        .out;
    assert!(
        told.contains("another message with this key became a dead letter") && told.contains(&id),
        "{told}"
    );
    assert!(
        told.contains(&format!("letter {} waits for a person", served.ids[0])),
        "the key's own: {told}"
    );

    // As it is it cannot run; with a key of its own it does.
    let run = at
        .idem(&["dlq", "redrive", &id, "--yes", "--why", "hope"])
        .await
        .ended(1);
    assert!(run.err.contains("its key is another message's"), "{run:?}");
    let mended =
        serde_json::json!({ "order": { "order_no": "A-2", "qty": 3, "note": "" } }).to_string();
    at.told(
        &["dlq", "edit", &id, "--payload", "-", "--why", "its own key"],
        &mended,
    )
    .await
    .well();
    let run = at
        .idem(&["dlq", "redrive", &id, "--yes", "--why", "its own key"])
        .await
        .well();
    assert!(run.out.contains("300"), "{run:?}");
    assert_eq!(
        at.json(&["explain", "orders.place", "A-2"]).await["now"]["state"],
        "done"
    );
    assert_eq!(
        at.json(&["explain", "orders.place", "A-1"]).await["now"]["state"],
        "dead"
    );
}
