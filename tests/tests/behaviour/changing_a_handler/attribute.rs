//! The attribute's arguments, the handler's name, and the function.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::dead_letters::RunOutcome;
use idem_runtime::{Error, Filter, idempotent};
use serde::Deserialize;

use super::{Shop, assert_failed, assert_own, assert_reused, letters, made, runs_letter};
use crate::common::{Body, Oops, only_letter};

#[tokio::test]
async fn retries_are_lowered() {
    program!(old: [name = "orders.place", key = "order_no", retries = 3, backoff(initial = "0ms")] (order_no: String));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order_no: String));
    let shop = Shop::new();
    shop.runs(async |_| {
        for text in ["failure 1", "failure 2"] {
            assert_own(old("fails".into(), shop.body()).await, text);
        }
    })
    .await;
    shop.runs(async |idem| {
        assert_eq!(letters(idem).await, [], "a deploy alone makes no letter");
        assert_own(new("fails".into(), shop.body()).await, "failure 3");
        assert_eq!(only_letter(idem).await.attempts.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn retries_are_raised() {
    program!(old: [name = "orders.place", key = "order_no", retries = 1, backoff(initial = "0ms")] (order_no: String));
    program!(new: [name = "orders.place", key = "order_no", retries = 2, backoff(initial = "0ms")] (order_no: String));
    let shop = Shop::new();
    shop.runs(async |_| {
        assert_own(old("fails".into(), shop.body()).await, "failure 1");
        for text in ["failure 2", "failure 3"] {
            assert_own(old("fails too".into(), shop.body()).await, text);
        }
    })
    .await;
    shop.runs(async |idem| {
        let dead = new("fails too".into(), shop.body())
            .await
            .unwrap_err()
            .into_idem();
        assert!(
            matches!(dead, Error::DeadLettered { .. }),
            "a letter stays one: {dead:?}"
        );
        for text in ["failure 4", "failure 5"] {
            assert_own(new("fails".into(), shop.body()).await, text);
        }
        assert_eq!(letters(idem).await.len(), 2);
        // A redrive has the budget of today.
        let of_before = Filter::default().key("fails too");
        let letter = idem
            .dead_letters()
            .list(&of_before)
            .await
            .unwrap()
            .remove(0);
        idem.dead_letters().redrive(&letter.id).await.unwrap();
        for text in ["failure 6", "failure 7", "failure 8"] {
            assert_own(new("fails too".into(), shop.body()).await, text);
        }
        assert_eq!(letters(idem).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn the_ttl_is_changed() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0, ttl = "1d"] (order_no: String));
    program!(new: [name = "orders.place", key = "order_no", retries = 0, ttl = "10d"] (order_no: String));
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let shop = Shop::new();
    shop.runs(async |_| old("A-1".into(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| {
        shop.folder.clock.advance(DAY - Duration::from_secs(1));
        assert_eq!(new("A-1".into(), shop.body()).await.unwrap(), 1);
        shop.folder.clock.advance(Duration::from_secs(1));
        assert_eq!(
            new("A-1".into(), shop.body()).await.unwrap(),
            2,
            "it was recorded for a day"
        );
        shop.folder.clock.advance(DAY * 9);
        assert_eq!(new("A-1".into(), shop.body()).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn where_it_is_retried_and_what_duplicates_get_is_changed() {
    program!(old: [name = "orders.place", key = "order_no", retries = 2, backoff(initial = "0ms")] (order_no: String));
    #[idempotent(
        name = "orders.place",
        key = "order_no",
        retries = 2,
        backoff(initial = "0ms"),
        in_flight = "reject",
        skip(body)
    )]
    async fn new(order_no: String, body: Arc<Body>) -> Result<u32, Oops> {
        made(&order_no, &body)
    }
    let shop = Shop::new();
    shop.runs(async |_| {
        assert_own(old("fails".into(), shop.body()).await, "failure 1");
        assert_eq!(old("A-1".into(), shop.body()).await.unwrap(), 2);
    })
    .await;
    shop.runs(async |idem| {
        // Inline it makes the two attempts that are left in one call.
        assert_own(new("fails".into(), shop.body()).await, "failure 4");
        assert_eq!(only_letter(idem).await.attempts.len(), 3);
        assert_eq!(new("A-1".into(), shop.body()).await.unwrap(), 2);
    })
    .await;
}

#[tokio::test]
async fn the_key_is_changed() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order_no: String, shop: String));
    program!(new: [name = "orders.place", key = "shop, order_no", retries = 0] (order_no: String, shop: String));
    let shop = Shop::new();
    let order = |order_no: &str| (order_no.to_owned(), "tea".to_owned());
    shop.runs(async |_| {
        let (order_no, name) = order("A-1");
        old(order_no, name, shop.body()).await.unwrap();
        let (order_no, name) = order("fails");
        assert_own(old(order_no, name, shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        let (order_no, name) = order("A-1");
        let again = new(order_no, name, shop.body()).await.unwrap();
        assert_eq!(again, 3, "it runs again: nothing says that it is the same message");
        let body = shop.body();
        #[derive(Deserialize)]
        struct Arguments {
            order_no: String,
            shop: String,
        }
        idem.register_handler("orders.place", move |of: Arguments| {
            new(of.order_no, of.shop, Arc::clone(&body))
        });
        let run = runs_letter(idem).await.unwrap();
        assert!(
            matches!(&run, RunOutcome::Failed { error, .. } if error.contains("has the key `tea,fails`")),
            "{run:?}"
        );
        assert_eq!((shop.body.starts(), letters(idem).await.len()), (3, 1));
    })
    .await;
}

#[tokio::test]
async fn the_fingerprint_is_changed() {
    program!(all: [name = "orders.place", key = "order_no", retries = 0] (order_no: String, note: String));
    program!(some: [name = "orders.place", key = "order_no", retries = 0, fingerprint(order_no)] (order_no: String, note: String));
    program!(off: [name = "orders.place", key = "order_no", retries = 0, fingerprint = "off"] (order_no: String, note: String));
    let shop = Shop::new();
    let note = || "ring".to_owned();
    shop.runs(async |_| all("A-1".into(), note(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| {
        assert_reused(some("A-1".into(), note(), shop.body()).await);
        assert_eq!(some("A-2".into(), note(), shop.body()).await.unwrap(), 2);
    })
    .await;
    shop.runs(async |_| {
        assert_eq!(off("A-1".into(), note(), shop.body()).await.unwrap(), 1);
        assert_eq!(off("A-3".into(), note(), shop.body()).await.unwrap(), 3);
    })
    .await;
    shop.runs(async |_| {
        assert_eq!(all("A-1".into(), note(), shop.body()).await.unwrap(), 1);
        assert_reused(all("A-2".into(), note(), shop.body()).await);
        assert_eq!(
            all("A-3".into(), "knock".into(), shop.body())
                .await
                .unwrap(),
            3
        );
    })
    .await;
}

#[tokio::test]
async fn the_name_is_changed() {
    program!(old: [name = "place_order", key = "order_no", retries = 0] (order_no: String));
    program!(without: [name = "orders.put", key = "order_no", retries = 0] (order_no: String));
    program!(with: [name = "orders.place", was = "place_order", key = "order_no", retries = 0] (order_no: String));
    let shop = Shop::new();
    shop.runs(async |_| {
        old("A-1".into(), shop.body()).await.unwrap();
        assert_own(old("fails".into(), shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        assert_eq!(with("A-1".into(), shop.body()).await.unwrap(), 1);
        let dead = with("fails".into(), shop.body())
            .await
            .unwrap_err()
            .into_idem();
        assert!(matches!(dead, Error::DeadLettered { .. }), "{dead:?}");
        let body = shop.body();
        idem.register_handler("orders.place", move |order_no| {
            with(order_no, Arc::clone(&body))
        });
        let run = runs_letter(idem).await.unwrap();
        assert_failed(&run, "failure 3");
    })
    .await;
    shop.runs(async |_| {
        assert_eq!(
            without("A-1".into(), shop.body()).await.unwrap(),
            4,
            "it runs again"
        );
    })
    .await;
}

#[tokio::test]
async fn the_function_is_renamed_and_the_name_was_never_given() {
    #[idempotent(key = "order_no", retries = 0, skip(body))]
    async fn old(order_no: String, body: Arc<Body>) -> Result<u32, Oops> {
        made(&order_no, &body)
    }
    #[idempotent(key = "order_no", retries = 0, skip(body))]
    async fn new(order_no: String, body: Arc<Body>) -> Result<u32, Oops> {
        made(&order_no, &body)
    }
    let shop = Shop::new();
    shop.runs(async |_| old("A-1".into(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| {
        assert_eq!(
            new("A-1".into(), shop.body()).await.unwrap(),
            2,
            "it runs again"
        );
    })
    .await;
}

#[tokio::test]
async fn the_error_is_of_another_type_and_the_function_becomes_async() {
    #[idempotent(name = "orders.place", key = "order_no", retries = 0, skip(body))]
    fn old(order_no: String, body: Arc<Body>) -> Result<u32, Oops> {
        made(&order_no, &body)
    }
    #[idempotent(name = "orders.place", key = "order_no", retries = 0, skip(body))]
    async fn new(
        order_no: String,
        body: Arc<Body>,
    ) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
        Ok(made(&order_no, &body)?)
    }
    let shop = Shop::new();
    shop.runs(async |_| {
        old("A-1".into(), shop.body()).unwrap();
        assert_own(old("fails".into(), shop.body()), "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        assert_eq!(new("A-1".into(), shop.body()).await.unwrap(), 1);
        assert_eq!(only_letter(idem).await.last_error(), Some("failure 2"));
        let dead = new("fails".into(), shop.body()).await.unwrap_err();
        assert!(
            matches!(dead.downcast_ref(), Some(Error::DeadLettered { .. })),
            "{dead}"
        );
    })
    .await;
}
