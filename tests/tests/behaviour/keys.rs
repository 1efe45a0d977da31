//! What makes two calls the same message.

use idem_runtime::testing::temporary;
use idem_runtime::{Error, attempt, idempotent};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    order_no: String,
    customer: Customer,
    line: (u32, String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Customer {
    tenant: String,
    id: u64,
}

fn order() -> Order {
    let customer = Customer {
        tenant: "acme".to_owned(),
        id: 7,
    };
    Order {
        order_no: "A-1".to_owned(),
        customer,
        line: (3, "TEA".to_owned()),
    }
}

fn key() -> Result<String, Error> {
    Ok(attempt().unwrap().key.to_string())
}

#[idempotent(name = "keys.field", key = "order_no")]
async fn field(order: Order) -> Result<String, Error> {
    key()
}

#[idempotent(name = "keys.deep", key = "customer.tenant, customer.id, line.0")]
async fn deep(order: &Order) -> Result<String, Error> {
    key()
}

#[idempotent(name = "keys.argument", key = "order_no")]
async fn argument_first(order: Order, order_no: u32) -> Result<String, Error> {
    key()
}

#[idempotent(name = "keys.list", key("order.customer.tenant", order.order_no))]
async fn list(order: Order, note: String) -> Result<String, Error> {
    key()
}

#[idempotent(name = "keys.expression", key = format!("{}#{}", order.order_no.to_lowercase(), order.line.1.len()))]
async fn expression(order: Order) -> Result<String, Error> {
    key()
}

#[idempotent(name = "keys.skipped", key = "message_id", skip(message_id))]
async fn skipped(message_id: &str, order: Order) -> Result<String, Error> {
    key()
}

#[idempotent(name = "keys.only_message", key = "order_no", skip(shop))]
async fn field_of_the_only_message(shop: &str, order: Order) -> Result<String, Error> {
    let _ = shop;
    key()
}

struct Headers {
    message_id: String,
}

impl Headers {
    #[idempotent(name = "keys.own", key = "self.message_id")]
    async fn handle(&self, order: Order) -> Result<String, Error> {
        key()
    }
}

#[tokio::test]
async fn a_key_is_what_its_paths_and_expressions_say() {
    let idem = temporary().unwrap();
    idem.scope(async {
        assert_eq!(field(order()).await.unwrap(), "A-1");
        assert_eq!(deep(&order()).await.unwrap(), "acme,7,3");
        assert_eq!(argument_first(order(), 5).await.unwrap(), "5");
        assert_eq!(list(order(), String::new()).await.unwrap(), "acme,A-1");
        assert_eq!(expression(order()).await.unwrap(), "a-1#3");
        assert_eq!(skipped("m-1", order()).await.unwrap(), "m-1");
        assert_eq!(
            field_of_the_only_message("shop", order()).await.unwrap(),
            "A-1"
        );
        assert_eq!(
            Headers {
                message_id: "m-2".to_owned()
            }
            .handle(order())
            .await
            .unwrap(),
            "m-2"
        );
    })
    .await;
}

#[idempotent(name = "keys.raw", key = "r#type, r#match.id")]
async fn raw(r#type: &str, r#match: Customer) -> Result<String, Error> {
    key()
}

#[tokio::test]
async fn raw_names_are_names() {
    let idem = temporary().unwrap();
    assert_eq!(idem.scope(raw("t", order().customer)).await.unwrap(), "t,7");
}
