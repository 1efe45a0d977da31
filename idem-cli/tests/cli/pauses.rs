//! Handlers are paused and resumed, in a folder and at a running service alike.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use idem_runtime::Idem;
use idem_runtime::testing::ManualClock;
use idem_test_support::within;

use crate::served::Served;
use crate::support::{At, PlaceOrder, order, place_order};

/// A closed folder that knows the handler.
async fn called_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let builder = Idem::builder().clock(Arc::new(clock.clone()));
    let idem = builder.open(folder.path()).unwrap();
    let small = PlaceOrder {
        qty: 1,
        ..order("A-1", "")
    };
    assert!(idem.scope(place_order(small)).await.is_ok());
    clock.advance(Duration::from_secs(30));
    // The background writes it.
    let noted = async || {
        !idem
            .notes()
            .list("handlers/", None, 1)
            .await
            .unwrap()
            .is_empty()
    };
    within(async {
        while !noted().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    idem.close().await.unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_paused_listed_and_resumed() {
    let data = called_folder().await;
    let served = Served::start(1).await;
    let places: [(At, Box<dyn Any>); 2] = [
        (At::folder(data.path()), Box::new(data)),
        (served.at(), Box::new(served)),
    ];
    for (at, _alive) in places {
        let none = at.idem(&["pauses"]).await.well().out;
        assert_eq!(none, "no handler is paused\n");
        let why = ["pause", "orders.place", "--why", "the bank \u{1b}[31mmoves"];
        let pause = at.json(&why).await;
        assert_eq!(pause["handler"], "orders.place", "{at:?}");
        let list = at.json(&["pauses"]).await;
        assert_eq!(list["pauses"][0]["why"], "the bank \u{1b}[31mmoves");
        for question in ["pauses", "stats"] {
            let text = at.idem(&[question]).await.well().out;
            assert!(
                text.contains("orders.place since") && text.contains("the bank \\u{1b}[31mmoves"),
                "{text}"
            );
        }
        let resume = ["resume", "orders.place", "--why", "it has moved"];
        let said = at.idem(&resume).await.well().out;
        assert!(said.starts_with("`orders.place` is resumed"), "{said}");
        let again = at.idem(&resume).await.ended(1);
        assert!(
            again.err.contains("`orders.place` is not paused"),
            "{again:?}"
        );
        let typo = ["pause", "orders.plaec", "--why", "the bank moves"];
        let refused = at.idem(&typo).await.ended(1);
        assert!(
            refused.err.contains("`orders.place`") && refused.err.contains("`--force`"),
            "{refused:?}"
        );
        let none = at.idem(&["pauses"]).await.well().out;
        assert_eq!(none, "no handler is paused\n");
        at.idem(&[&typo[..], &["--force"]].concat()).await.well();
        let silent = at.idem(&["pause", "orders.place"]).await.ended(2);
        assert!(silent.err.contains("--why"), "{silent:?}");
    }
}
