//! The message: its fields and arguments, and who is deployed first.

use std::sync::Arc;

use idem_runtime::dead_letters::LetterError;
use idem_runtime::idempotent;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Shop, assert_failed, assert_own, assert_reused, letters, made, runs_letter};
use crate::common::{Body, Oops, only_letter};

#[tokio::test]
async fn a_field_or_an_argument_that_may_be_absent_is_added() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
        note: Option<String>,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct After {
        order_no: String,
        coupon: Option<String>,
        note: Option<String>,
    }
    program!(old: [name = "orders.place", key = "order.order_no", retries = 1, backoff(initial = "0ms")] (order: Before));
    program!(new: [name = "orders.place", key = "order.order_no", retries = 1, backoff(initial = "0ms")] (order: After, gift: Option<bool>));
    #[derive(Deserialize)]
    struct Arguments {
        order: After,
        gift: Option<bool>,
    }
    let before = |order_no: &str| Before {
        order_no: order_no.into(),
        note: None,
    };
    let after = |order_no: &str, coupon: Option<&str>| After {
        order_no: order_no.into(),
        coupon: coupon.map(Into::into),
        note: None,
    };
    let shop = Shop::new();
    shop.runs(async |_| {
        assert_eq!(old(before("A-1"), shop.body()).await.unwrap(), 1);
        assert_own(old(before("fails"), shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        assert_eq!(new(after("A-1", None), None, shop.body()).await.unwrap(), 1);
        assert_reused(new(after("A-1", Some("tea")), None, shop.body()).await);
        // The second and last attempt of the message that was in flight.
        assert_own(
            new(after("fails", None), None, shop.body()).await,
            "failure 3",
        );
        assert_eq!(only_letter(idem).await.attempts.len(), 2);
    })
    .await;
    // A letter of before, of which a person has mended the order.
    let id = shop
        .runs(async |idem| {
            for text in ["failure 4", "failure 5"] {
                assert_own(old(before("fails too"), shop.body()).await, text);
            }
            letters(idem).await.remove(0)
        })
        .await;
    shop.runs(async |idem| {
        let body = shop.body();
        idem.register_handler("orders.place", move |Arguments { order, gift }| {
            new(order, gift, Arc::clone(&body))
        });
        let run = idem.dead_letters().run(&id).await.unwrap();
        assert_failed(&run, "failure 7");
    })
    .await;
}

#[tokio::test]
async fn a_field_with_another_default_is_added() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order_no: String));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order_no: String, qty: u32));
    let shop = Shop::new();
    shop.runs(async |_| old("A-1".into(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| assert_reused(new("A-1".into(), 1, shop.body()).await))
        .await;

    // The part of the message that has to match is listed before the deploy.
    program!(listed: [name = "orders.list", key = "order_no", retries = 0, fingerprint(order_no)] (order_no: String));
    program!(longer: [name = "orders.list", key = "order_no", retries = 0, fingerprint(order_no)] (order_no: String, qty: u32));
    shop.runs(async |_| listed("A-1".into(), shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| assert_eq!(longer("A-1".into(), 1, shop.body()).await.unwrap(), 2))
        .await;
}

#[tokio::test]
async fn an_argument_is_removed() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order_no: String, note: Option<String>));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order_no: String));
    let shop = Shop::new();
    shop.runs(async |_| {
        old("A-1".into(), None, shop.body()).await.unwrap();
        old("A-2".into(), Some("ring".into()), shop.body())
            .await
            .unwrap();
        assert_own(old("fails".into(), None, shop.body()).await, "failure 3");
    })
    .await;
    shop.runs(async |idem| {
        assert_eq!(new("A-1".into(), shop.body()).await.unwrap(), 1);
        assert_reused(new("A-2".into(), shop.body()).await);
        // A letter has the arguments that its message had, until a person edits it.
        let body = shop.body();
        idem.register_handler("orders.place", move |order_no| {
            new(order_no, Arc::clone(&body))
        });
        let unfit = runs_letter(idem).await.unwrap_err();
        assert!(
            matches!(unfit, LetterError::PayloadUnfit { .. }),
            "{unfit:?}"
        );
        let id = only_letter(idem).await.id;
        let edited = json!({ "order_no": "fails" });
        idem.dead_letters()
            .edit(&id, edited, "the note is gone")
            .await
            .unwrap();
        let run = runs_letter(idem).await.unwrap();
        assert_failed(&run, "failure 4");
    })
    .await;
}

#[tokio::test]
async fn a_field_is_removed() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
        note: String,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct After {
        order_no: String,
    }
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order: Before));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order: After));
    let shop = Shop::new();
    let before = |order_no: &str| Before {
        order_no: order_no.into(),
        note: "ring".into(),
    };
    shop.runs(async |_| {
        old(before("A-1"), shop.body()).await.unwrap();
        assert_own(old(before("fails"), shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        assert_reused(
            new(
                After {
                    order_no: "A-1".into(),
                },
                shop.body(),
            )
            .await,
        );
        let body = shop.body();
        idem.register_handler("orders.place", move |order| new(order, Arc::clone(&body)));
        let run = runs_letter(idem).await.unwrap();
        assert_failed(&run, "failure 3");
    })
    .await;
}

#[tokio::test]
async fn a_field_is_made_required() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
        qty: Option<u32>,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct After {
        order_no: String,
        qty: u32,
    }
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order: Before));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order: After));
    let shop = Shop::new();
    let before = |order_no: &str, qty| Before {
        order_no: order_no.into(),
        qty,
    };
    shop.runs(async |_| {
        old(before("A-1", Some(2)), shop.body()).await.unwrap();
        assert_own(old(before("fails", None), shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        let after = After {
            order_no: "A-1".into(),
            qty: 2,
        };
        assert_eq!(new(after, shop.body()).await.unwrap(), 1);
        let body = shop.body();
        idem.register_handler("orders.place", move |order| new(order, Arc::clone(&body)));
        let unfit = runs_letter(idem).await.unwrap_err();
        assert!(
            matches!(&unfit, LetterError::PayloadUnfit { problem, .. } if problem.contains("qty")),
            "{unfit:?}"
        );
        assert_eq!(shop.body.starts(), 2);
        let id = only_letter(idem).await.id;
        let edited = json!({ "order": { "order_no": "fails", "qty": 1 } });
        idem.dead_letters()
            .edit(&id, edited, "they ordered one")
            .await
            .unwrap();
        let run = runs_letter(idem).await.unwrap();
        assert_failed(&run, "failure 3");
    })
    .await;
}

#[tokio::test]
async fn a_field_is_renamed() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
        note: String,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Aliased {
        order_no: String,
        #[serde(alias = "note")]
        remark: String,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Renamed {
        order_no: String,
        #[serde(rename = "note")]
        remark: String,
    }
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order: Before));
    program!(aliased: [name = "orders.place", key = "order_no", retries = 0] (order: Aliased));
    program!(renamed: [name = "orders.place", key = "order_no", retries = 0] (order: Renamed));
    let shop = Shop::new();
    let (order_no, note) = ("A-1".to_owned(), "ring".to_owned());
    shop.runs(async |_| {
        let order = Before {
            order_no: order_no.clone(),
            note: note.clone(),
        };
        old(order, shop.body()).await.unwrap();
    })
    .await;
    shop.runs(async |_| {
        let order = Aliased {
            order_no: order_no.clone(),
            remark: note.clone(),
        };
        assert_reused(aliased(order, shop.body()).await);
    })
    .await;
    shop.runs(async |_| {
        let order = Renamed {
            order_no,
            remark: note,
        };
        assert_eq!(renamed(order, shop.body()).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_argument_is_renamed() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order_no: String));
    program!(new: [name = "orders.place", key = "number", retries = 0] (number: String));
    let shop = Shop::new();
    shop.runs(async |_| {
        old("A-1".into(), shop.body()).await.unwrap();
        assert_own(old("fails".into(), shop.body()).await, "failure 2");
    })
    .await;
    shop.runs(async |idem| {
        assert_reused(new("A-1".into(), shop.body()).await);
        // A handler with one argument gets its value, whatever its name.
        let body = shop.body();
        idem.register_handler("orders.place", move |number| new(number, Arc::clone(&body)));
        let run = runs_letter(idem).await.unwrap();
        assert_failed(&run, "failure 3");
    })
    .await;
}

#[tokio::test]
async fn the_arguments_change_places() {
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order_no: String, qty: u32));
    #[idempotent(name = "orders.place", key = "order_no", retries = 0, skip(body))]
    async fn new(qty: u32, order_no: String, body: Arc<Body>) -> Result<u32, Oops> {
        made(&format!("{qty} of {order_no}"), &body)
    }
    let shop = Shop::new();
    shop.runs(async |_| old("A-1".into(), 2, shop.body()).await.unwrap())
        .await;
    shop.runs(async |_| assert_eq!(new(2, "A-1".into(), shop.body()).await.unwrap(), 1))
        .await;
}

#[tokio::test]
async fn the_producer_is_deployed_first() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct After {
        order_no: String,
        coupon: Option<String>,
    }
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order: Before));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order: After));
    let shop = Shop::new();
    let message = r#"{"order_no":"A-1","coupon":"tea"}"#;
    shop.runs(async |_| {
        // The coupon is lost, and not in the fingerprint.
        let order = serde_json::from_str(message).unwrap();
        old(order, shop.body()).await.unwrap()
    })
    .await;
    shop.runs(async |_| {
        let order = serde_json::from_str(message).unwrap();
        assert_reused(new(order, shop.body()).await);
    })
    .await;
}

#[tokio::test]
async fn the_consumer_is_deployed_first() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct After {
        order_no: String,
        coupon: Option<String>,
    }
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Before {
        order_no: String,
    }
    program!(old: [name = "orders.place", key = "order_no", retries = 0] (order: Before));
    program!(new: [name = "orders.place", key = "order_no", retries = 0] (order: After));
    let shop = Shop::new();
    let message = r#"{"order_no":"A-1"}"#;
    shop.runs(async |_| {
        let order = serde_json::from_str(message).unwrap();
        old(order, shop.body()).await.unwrap()
    })
    .await;
    shop.runs(async |_| {
        let order: After = serde_json::from_str(message).unwrap();
        assert_eq!(new(order, shop.body()).await.unwrap(), 1);
        let next = serde_json::from_str(r#"{"order_no":"A-2","coupon":"tea"}"#).unwrap();
        assert_eq!(new(next, shop.body()).await.unwrap(), 2);
    })
    .await;
}
