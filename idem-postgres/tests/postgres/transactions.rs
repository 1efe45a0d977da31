//! Handlers whose rows commit with their result.

use idem_postgres::{Postgres, transaction};
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::{Error, Filter, Idem, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};

use crate::database::Database;

/// What a body does after it has written its row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Then {
    Return,
    Fail,
    /// Write the row once more, and take no notice of the error.
    Ignore,
    /// The same in a savepoint.
    IgnoreInSavepoint,
    /// End the transaction itself.
    Commit,
}

#[derive(Debug, thiserror::Error)]
enum BookError {
    #[error("no stock")]
    NoStock,
    #[error(transparent)]
    Idem(#[from] Error),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// Two handlers of one body, in each mode.
macro_rules! handler {
    ($name:ident, $in_ledger:literal, $mode:literal) => {
        #[idempotent(name = $in_ledger, key = "order_no", retries = 0, transaction = $mode, skip(idem, then))]
        async fn $name(order_no: &str, idem: &Idem, then: Then) -> Result<u32, BookError> {
            booking(order_no, idem, then).await
        }
    };
}
handler!(book, "orders.book", "counted");
handler!(book_at_once, "orders.book_at_once", "single");

async fn booking(order_no: &str, idem: &Idem, then: Then) -> Result<u32, BookError> {
    let mut tx = transaction().await?;
    insert(&mut tx, order_no).await?;
    let message = OutboxMessage::new("orders.booked", order_no, "{}");
    idem.outbox().enqueue(message)?;
    match then {
        Then::Return => {}
        Then::Fail => return Err(BookError::NoStock),
        Then::Ignore => drop(insert(&mut tx, order_no).await.unwrap_err()),
        Then::IgnoreInSavepoint => {
            let mut savepoint = tx.begin().await?;
            insert(&mut savepoint, order_no).await.unwrap_err();
            savepoint.rollback().await?;
        }
        Then::Commit => {
            sqlx::raw_sql("COMMIT").execute(&mut *tx).await?;
        }
    }
    Ok(1)
}

async fn insert(connection: &mut PgConnection, order_no: &str) -> sqlx::Result<()> {
    let insert = "INSERT INTO orders (order_no) VALUES ($1)";
    let insert = sqlx::query(insert).bind(order_no);
    insert.execute(connection).await.map(drop)
}

struct Shop {
    database: Database,
    idem: Idem,
}

impl Shop {
    async fn open() -> Self {
        let database = Database::with_orders().await.unwrap();
        let idem = Idem::builder().open_with(Postgres::connect(database.url()));
        let idem = idem.await.unwrap();
        Self { database, idem }
    }

    async fn book(&self, at_once: bool, then: Then) -> Result<u32, BookError> {
        let idem = &self.idem;
        if at_once {
            return idem.scope(book_at_once("A-1", idem, then)).await;
        }
        idem.scope(book("A-1", idem, then)).await
    }

    /// The rows of the business table, and the messages in the outbox.
    async fn there(&self) -> (i64, usize) {
        let rows = sqlx::query_scalar("SELECT count(*) FROM orders")
            .fetch_one(&mut self.database.connect().await.unwrap())
            .await
            .unwrap();
        (
            rows,
            self.idem.outbox().pending(None, 10).await.unwrap().len(),
        )
    }

    /// The error of the only letter.
    async fn letter(&self) -> String {
        let (letters, open) = (self.idem.dead_letters(), Filter::default());
        let letters = letters.list(&open).await.unwrap();
        assert_eq!(letters.len(), 1, "{letters:#?}");
        letters[0].attempts[0].error.clone().unwrap()
    }
}

#[tokio::test]
async fn the_rows_the_messages_and_the_result_are_one_commit() {
    for at_once in [false, true] {
        let shop = Shop::open().await;
        for _ in 0..2 {
            assert_eq!(shop.book(at_once, Then::Return).await.unwrap(), 1);
            assert_eq!(shop.there().await, (1, 1), "{at_once}");
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_leaves_nothing() {
    for at_once in [false, true] {
        let shop = Shop::open().await;
        shop.book(at_once, Then::Fail).await.unwrap_err();
        assert_eq!(shop.there().await, (0, 0), "{at_once}");
        assert_eq!(shop.letter().await, "no stock");
    }
}

#[tokio::test]
async fn a_failed_statement_breaks_the_transaction_unless_a_savepoint_is_around_it() {
    for at_once in [false, true] {
        let shop = Shop::open().await;
        shop.book(at_once, Then::Ignore).await.unwrap_err();
        assert_eq!(shop.there().await, (0, 0), "{at_once}");
        let why = shop.letter().await;
        assert!(why.contains("savepoint"), "{why}");

        let shop = Shop::open().await;
        assert_eq!(
            shop.book(at_once, Then::IgnoreInSavepoint).await.unwrap(),
            1
        );
        assert_eq!(shop.there().await, (1, 1), "{at_once}");
    }
}

#[tokio::test]
async fn a_body_that_ends_the_transaction_itself_is_told() {
    for at_once in [false, true] {
        let shop = Shop::open().await;
        shop.book(at_once, Then::Commit).await.unwrap_err();
        let why = shop.letter().await;
        assert!(why.contains("leave COMMIT and ROLLBACK to idem"), "{why}");
        assert_eq!(shop.there().await.1, 0, "no message");
    }
}

/// Sixteen transactions of one pool of two connections, whose sessions have another isolation.
#[tokio::test]
async fn a_pool_of_the_service_s_own_serves_with_its_own_settings() {
    let shop = Shop::open().await;
    let options = shop
        .database
        .url()
        .parse::<sqlx::postgres::PgConnectOptions>()
        .unwrap();
    let options = options.options([("default_transaction_isolation", "serializable")]);
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(2);
    let pool = pool.connect_lazy_with(options);
    let idem = Idem::builder().open_with(Postgres::with_pool(pool.clone()).ledger());
    let idem = idem.await.unwrap();
    let orders: Vec<_> = (0..16).map(|number| format!("B-{number}")).collect();
    let booked = orders
        .iter()
        .map(|order| idem.scope(book(order, &idem, Then::Return)));
    for booked in futures_util::future::join_all(booked).await {
        assert_eq!(booked.unwrap(), 1);
    }
    assert_eq!(shop.there().await.0, 16);
    idem.close().await.unwrap();
    assert!(!pool.is_closed(), "it is the service's");
}
