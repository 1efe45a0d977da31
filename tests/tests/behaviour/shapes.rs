//! A handler may have any shape a function has, and stays callable as it was written.

use std::fmt::Display;
use std::sync::Arc;

use async_trait::async_trait;
use idem_runtime::testing::temporary;
use idem_runtime::{Error, Idem, attempt, idempotent};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::common::{Body, Oops, only_letter, soon};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    order_no: String,
    qty: u32,
}

fn order(qty: u32) -> Order {
    Order {
        order_no: "A-1".to_owned(),
        qty,
    }
}

#[idempotent(name = "shapes.generic", key = "id", skip(body))]
async fn generic<K, V>(id: K, value: &V, body: &Body) -> Result<V, Error>
where
    K: Display + Serialize + Clone,
    V: Serialize + DeserializeOwned + Clone,
{
    body.start();
    Ok(value.clone())
}

#[tokio::test]
async fn a_generic_function() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(generic(1_u8, &order(2), &body).await.unwrap(), order(2));
        assert_eq!(generic(1_u8, &order(2), &body).await.unwrap(), order(2));
        assert_eq!(generic("two", &vec![1_u8], &body).await.unwrap(), [1]);
    })
    .await;
    assert_eq!(body.starts(), 2);
}

#[idempotent(name = "shapes.opaque", key = "id", skip(body))]
async fn opaque(id: impl Display + Serialize + Clone, body: &Body) -> Result<String, Error> {
    body.start();
    Ok(id.to_string())
}

#[tokio::test]
async fn an_argument_of_an_unnamed_type() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(opaque(7, &body).await.unwrap(), "7");
        assert!(matches!(
            opaque("7".to_owned(), &body).await,
            Err(Error::KeyReused { .. })
        ));
    })
    .await;
}

#[derive(Debug)]
struct Shop<T> {
    name: String,
    body: Arc<Body>,
    sold: T,
    calls: u32,
}

impl<T> Shop<T> {
    fn new(name: &str, sold: T) -> Self {
        Self {
            name: name.to_owned(),
            body: Body::open(),
            sold,
            calls: 0,
        }
    }
}

impl<T: Display + Send + Sync> Shop<T> {
    #[idempotent(name = "shapes.shop.place", key(self.name, order.order_no))]
    async fn place(&self, order: Order) -> Result<String, Error> {
        self.body.start();
        Ok(format!("{} {} of {}", order.qty, self.sold, self.name))
    }

    #[idempotent(name = "shapes.shop.count", key = "id", retries = 0)]
    async fn count(&mut self, id: u32) -> Result<u32, Error> {
        self.calls += 1;
        Ok(self.calls)
    }

    #[idempotent(name = "shapes.shop.close", key = "self.name", retries = 0)]
    async fn close(self) -> Result<String, Error> {
        Ok(self.name)
    }

    #[idempotent(key = "id")]
    async fn unnamed(&self, id: u32) -> Result<String, Error> {
        Ok(attempt().unwrap().handler.to_string())
    }
}

#[tokio::test]
async fn a_method_whose_receiver_is_context_and_may_be_in_the_key() {
    let idem = temporary().unwrap();
    let (one, two) = (Shop::new("one", "tea"), Shop::new("two", "jam"));
    idem.scope(async {
        assert_eq!(one.place(order(2)).await.unwrap(), "2 tea of one");
        assert_eq!(one.place(order(2)).await.unwrap(), "2 tea of one");
        assert_eq!(two.place(order(2)).await.unwrap(), "2 jam of two");
    })
    .await;
    assert_eq!((one.body.starts(), two.body.starts()), (1, 1));
}

#[tokio::test]
async fn methods_that_change_or_use_up_their_receiver() {
    let idem = temporary().unwrap();
    idem.scope(async {
        let mut shop = Shop::new("one", 1);
        assert_eq!(shop.count(1).await.unwrap(), 1);
        assert_eq!(shop.count(1).await.unwrap(), 1, "a replay changes nothing");
        assert_eq!(shop.count(2).await.unwrap(), 2);
        assert_eq!(shop.close().await.unwrap(), "one");
        assert_eq!(Shop::new("one", 2).close().await.unwrap(), "one");
    })
    .await;
}

#[tokio::test]
async fn a_method_without_a_name_is_named_after_its_type_and_so_two_types_do_not_mix() {
    let idem = temporary().unwrap();
    idem.scope(async {
        let one = Shop::new("", 1_u8).unnamed(1).await.unwrap();
        let two = Shop::new("", 1_u16).unnamed(1).await.unwrap();
        assert!(
            one.ends_with("Shop<u8>::unnamed") && two.ends_with("Shop<u16>::unnamed"),
            "{one} {two}"
        );
    })
    .await;
}

#[idempotent(key = "id")]
async fn free(id: u32) -> Result<String, Error> {
    Ok(attempt().unwrap().handler.to_string())
}

#[tokio::test]
async fn a_function_without_a_name_is_named_after_its_path() {
    let idem = temporary().unwrap();
    let name = idem.scope(free(1)).await.unwrap();
    assert!(name.ends_with("::shapes::free"), "{name}");
}

#[idempotent(
    name = "shapes.mutable",
    key = "id",
    retries = 2,
    backoff(initial = "0ms"),
    skip(body)
)]
async fn mutable(id: u32, total: &mut u32, mut add: u32, body: &Body) -> Result<u32, Oops> {
    *total += add;
    add += 1;
    match body.start() {
        1 => Err(Oops::own("busy")),
        _ => Ok(add),
    }
}

#[tokio::test]
async fn a_mutable_argument_is_lent_to_each_attempt_and_a_replay_leaves_it_alone() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        let mut total = 0;
        assert_eq!(
            mutable(1, &mut total, 5, &body).await.unwrap(),
            6,
            "each attempt has its own copy"
        );
        assert_eq!(total, 10, "both attempts added");
        let mut same = 0;
        assert_eq!(mutable(1, &mut same, 5, &body).await.unwrap(), 6);
        assert_eq!(same, 0);
    })
    .await;
}

#[idempotent(name = "shapes.patterns", key = "order_no, b", retries = 0, skip(body))]
async fn patterns(
    Order { order_no, mut qty }: Order,
    (a, b): (u8, String),
    [x, .., y]: [u32; 3],
    body: &Body,
) -> Result<String, Oops> {
    qty += 1;
    match body.start() {
        1 => Ok(format!("{order_no} {qty} {a} {b} {x} {y}")),
        _ => Err(Oops::own("no")),
    }
}

#[tokio::test]
async fn destructured_arguments_are_stored_whole_and_their_parts_can_be_keys() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        let arguments = |b: &str| (order(1), (2, b.to_owned()), [3, 4, 5]);
        for _ in 0..2 {
            let (order, pair, list) = arguments("b");
            assert_eq!(
                patterns(order, pair, list, &body).await.unwrap(),
                "A-1 2 2 b 3 5"
            );
        }
        let (order, pair, list) = arguments("c");
        patterns(order, pair, list, &body).await.unwrap_err();
    })
    .await;
    let letter = only_letter(&idem).await;
    assert_eq!(letter.key, "A-1,c");
    let mut stored: Vec<_> = letter
        .payload
        .to_value()
        .unwrap()
        .as_object()
        .unwrap()
        .values()
        .cloned()
        .collect();
    stored.sort_by_key(ToString::to_string);
    assert_eq!(
        serde_json::json!(stored),
        serde_json::json!([[2, "c"], [3, 4, 5], {"order_no": "A-1", "qty": 1}])
    );
}

trait Places {
    async fn place(&self, id: u32) -> Result<u32, Error>;
    fn place_now(&self, id: u32) -> Result<u32, Error>;
}

impl Places for Body {
    #[idempotent(name = "shapes.trait.place", key = "id")]
    async fn place(&self, id: u32) -> Result<u32, Error> {
        Ok(self.start())
    }

    #[idempotent(name = "shapes.trait.place_now", key = "id")]
    fn place_now(&self, id: u32) -> Result<u32, Error> {
        Ok(self.start())
    }
}

#[tokio::test]
async fn methods_of_a_trait() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(
            (body.place(1).await.unwrap(), body.place(1).await.unwrap()),
            (1, 1)
        );
        assert_eq!(
            (body.place_now(1).unwrap(), body.place_now(1).unwrap()),
            (2, 2)
        );
    })
    .await;
}

/// What cannot be stored, and is no part of a message either.
struct Ticket;

#[idempotent(name = "shapes.blank", key = "order_no", skip(body))]
async fn unused(
    order: Order,
    _: &Ticket,
    (_, _): (&u8, &Ticket),
    body: &Body,
) -> Result<u32, Error> {
    Ok(body.start())
}

#[async_trait]
trait Consults: Send + Sync {
    async fn consult(&self, order: Order, _: &Ticket) -> Result<u32, Error>;
}

#[async_trait]
impl Consults for Body {
    #[idempotent(name = "shapes.consults", key = "order_no")]
    async fn consult(&self, order: Order, _: &Ticket) -> Result<u32, Error> {
        Ok(self.start() + order.qty)
    }
}

#[tokio::test]
async fn an_argument_without_a_name_is_no_part_of_the_message() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    idem.scope(async {
        assert_eq!(
            unused(order(1), &Ticket, (&1, &Ticket), &body)
                .await
                .unwrap(),
            1
        );
        assert_eq!(
            unused(order(1), &Ticket, (&2, &Ticket), &body)
                .await
                .unwrap(),
            1,
            "the same message"
        );
        assert_eq!(body.consult(order(1), &Ticket).await.unwrap(), 3);
        assert_eq!(body.consult(order(1), &Ticket).await.unwrap(), 3);
    })
    .await;
}

#[async_trait]
trait Consumer: Send + Sync {
    async fn consume(&self, order: Order, (note, _): (String, u8)) -> Result<String, Oops>;
}

#[async_trait]
impl Consumer for Body {
    #[idempotent(
        name = "shapes.consumer",
        key = "order.order_no",
        backoff(initial = "0ms")
    )]
    async fn consume(&self, order: Order, (note, _): (String, u8)) -> Result<String, Oops> {
        match self.run().await {
            1 => Err(Oops::own("busy")),
            number => Ok(format!("{} {note} {number}", order.order_no)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_of_an_async_trait_behind_a_pointer() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let consumer: Arc<dyn Consumer> = body.clone();
    for _ in 0..2 {
        let (idem, consumer) = (Idem::clone(&idem), consumer.clone());
        let call = async move {
            idem.scope(consumer.consume(order(1), ("n".to_owned(), 0)))
                .await
        };
        assert_eq!(soon(tokio::spawn(call)).await.unwrap().unwrap(), "A-1 n 2");
    }
    assert_eq!(body.starts(), 2);
}

#[idempotent(name = "shapes.anyhow", key = "id", retries = 0)]
async fn with_anyhow(id: u32) -> anyhow::Result<u32> {
    anyhow::ensure!(id > 0, "zero");
    Ok(id)
}

#[idempotent(name = "shapes.boxed", key = "id", retries = 0)]
async fn with_box(id: u32) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    Ok("12".parse::<u32>()? + id)
}

#[tokio::test]
async fn errors_of_anyhow_and_boxed_ones_work_as_they_are() {
    let idem = temporary().unwrap();
    idem.scope(async {
        assert_eq!(with_anyhow(0).await.unwrap_err().to_string(), "zero");
        let error = with_anyhow(0).await.unwrap_err();
        assert!(
            matches!(error.downcast_ref(), Some(Error::DeadLettered { .. })),
            "{error:?}"
        );
        assert_eq!(with_box(1).await.unwrap(), 13);
    })
    .await;
}
