//! Handlers whose rows commit with their result.

use std::time::Duration;

use idem_postgres::{Postgres, transaction};
use idem_runtime::outbox::OutboxMessage;
use idem_runtime::{Error, Filter, Idem, idempotent};
use idem_test_support::servers::Trips;
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
    /// Set the transaction's isolation.
    Serialise,
    /// Remove what was prepared in the session.
    Deallocate,
}

/// How a body is called.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Whether the mode is `single`.
    at_once: bool,
    /// Whether the body sends a message.
    sends: bool,
}

const WAYS: [Way; 4] = [
    way(false, false),
    way(false, true),
    way(true, false),
    way(true, true),
];

const fn way(at_once: bool, sends: bool) -> Way {
    Way { at_once, sends }
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
        #[idempotent(name = $in_ledger, key = "order_no", retries = 0, transaction = $mode, skip(idem, sends, then))]
        async fn $name(order_no: &str, idem: &Idem, sends: bool, then: Then) -> Result<u32, BookError> {
            booking(order_no, idem, sends, then).await
        }
    };
}
handler!(book, "orders.book", "counted");
handler!(book_at_once, "orders.book_at_once", "single");

async fn booking(order_no: &str, idem: &Idem, sends: bool, then: Then) -> Result<u32, BookError> {
    let mut tx = transaction().await?;
    if then == Then::Serialise {
        let serialise = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE";
        sqlx::raw_sql(serialise).execute(&mut *tx).await?;
    }
    insert(&mut tx, order_no).await?;
    if sends {
        let message = OutboxMessage::new("orders.booked", order_no, "{}");
        idem.outbox().enqueue(message)?;
    }
    match then {
        Then::Return | Then::Serialise => {}
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
        Then::Deallocate => {
            sqlx::raw_sql("DEALLOCATE ALL").execute(&mut *tx).await?;
            // sqlx's own too.
            tx.clear_cached_statements().await?;
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

    async fn book(&self, way: Way, then: Then) -> Result<u32, BookError> {
        self.book_order("A-1", way, then).await
    }

    async fn book_order(
        &self,
        order_no: &str,
        Way { at_once, sends }: Way,
        then: Then,
    ) -> Result<u32, BookError> {
        let idem = &self.idem;
        if at_once {
            return idem.scope(book_at_once(order_no, idem, sends, then)).await;
        }
        idem.scope(book(order_no, idem, sends, then)).await
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
    for way in WAYS {
        let shop = Shop::open().await;
        for _ in 0..2 {
            assert_eq!(shop.book(way, Then::Return).await.unwrap(), 1);
            assert_eq!(shop.there().await, (1, usize::from(way.sends)), "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_leaves_nothing() {
    for way in WAYS {
        let shop = Shop::open().await;
        shop.book(way, Then::Fail).await.unwrap_err();
        assert_eq!(shop.there().await, (0, 0), "{way:?}");
        assert_eq!(shop.letter().await, "no stock");
    }
}

#[tokio::test]
async fn a_failed_statement_breaks_the_transaction_unless_a_savepoint_is_around_it() {
    for way in WAYS {
        let shop = Shop::open().await;
        shop.book(way, Then::Ignore).await.unwrap_err();
        assert_eq!(shop.there().await, (0, 0), "{way:?}");
        let why = shop.letter().await;
        assert!(why.contains("savepoint"), "{why}");

        let shop = Shop::open().await;
        assert_eq!(shop.book(way, Then::IgnoreInSavepoint).await.unwrap(), 1);
        assert_eq!(shop.there().await, (1, usize::from(way.sends)), "{way:?}");
    }
}

#[tokio::test]
async fn a_body_that_ends_the_transaction_itself_is_told() {
    for way in WAYS {
        let shop = Shop::open().await;
        shop.book(way, Then::Commit).await.unwrap_err();
        let why = shop.letter().await;
        assert!(why.contains("leave COMMIT and ROLLBACK to idem"), "{why}");
        assert_eq!(shop.there().await.1, 0, "no message");
    }
}

/// Two calls in each way, of which the second one has the connection of the first one.
async fn may_be_done_twice(then: Then) {
    for way in WAYS {
        let shop = Shop::open().await;
        for order_no in ["A-1", "A-2"] {
            let booked = shop.book_order(order_no, way, then).await;
            assert_eq!(booked.unwrap(), 1, "{way:?}");
        }
        let sent = if way.sends { 2 } else { 0 };
        assert_eq!(shop.there().await, (2, sent), "{way:?}");
    }
}

#[tokio::test]
async fn a_body_may_set_the_isolation_of_its_transaction() {
    may_be_done_twice(Then::Serialise).await;
}

#[tokio::test]
async fn a_body_may_remove_what_is_prepared_in_its_session() {
    may_be_done_twice(Then::Deallocate).await;
}

#[tokio::test]
async fn a_single_call_takes_three_trips_and_its_duplicate_waits_for_one() {
    let database = Database::with_orders().await.unwrap();
    let trips = Trips::before(database.url()).await.unwrap();
    let idem = Idem::builder().open_with(Postgres::connect(trips.url()));
    let shop = Shop {
        database,
        idem: idem.await.unwrap(),
    };
    // Heartbeats and sweeps come between, and never take a trip away.
    let least = async |sends: bool, again: bool| {
        let mut least = u64::MAX;
        for number in 0..20 {
            let number = if again { 0 } else { number };
            let order_no = format!("A-{number}-{sends}");
            let before = trips.count();
            shop.book_order(&order_no, way(true, sends), Then::Return)
                .await
                .unwrap();
            least = least.min(trips.count() - before);
        }
        least
    };
    for sends in [false, true] {
        assert_eq!(least(sends, false).await, 3);
        assert!(
            least(sends, true).await <= 2,
            "the second one is a rollback"
        );
    }
}

#[tokio::test]
async fn a_transaction_that_stood_still_for_a_lease_says_so() {
    #[idempotent(
        name = "orders.stand_still",
        key = "order_no",
        retries = 0,
        transaction = "single",
        skip(database)
    )]
    async fn stand_still(order_no: &str, database: &Database) -> Result<u32, BookError> {
        insert(&mut *transaction().await?, order_no).await?;
        no_transaction_is_open(database).await?;
        Ok(1)
    }
    let database = Database::with_orders().await.unwrap();
    let postgres = Postgres::new(database.url()).lease(Duration::from_secs(1));
    let idem = Idem::builder().open_with(postgres.ledger()).await.unwrap();
    let call = idem.scope(stand_still("A-1", &database));
    idem_test_support::within(call).await.unwrap_err();
    let shop = Shop { database, idem };
    let why = shop.letter().await;
    assert!(
        why.contains("1s, the lease") && why.contains("Postgres::lease"),
        "{why}"
    );
    assert_eq!(shop.there().await, (0, 0));
}

/// Others may need its connection, and the time of its transaction is not that of the wait.
/// Waits until no session of the database has an idle transaction.
async fn no_transaction_is_open(database: &Database) -> sqlx::Result<()> {
    let open = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let mut looking = database.connect().await?;
    // The server does not tell when a transaction ends.
    while sqlx::query_scalar::<_, i64>(open)
        .fetch_one(&mut looking)
        .await?
        > 0
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_waits_first_holds_no_transaction_meanwhile() {
    #[idempotent(
        name = "orders.slow",
        key = "order_no",
        transaction = "single",
        skip(database)
    )]
    async fn slow(order_no: &str, database: &Database) -> Result<u32, BookError> {
        no_transaction_is_open(database).await?;
        insert(&mut *transaction().await?, order_no).await?;
        Ok(1)
    }
    let shop = Shop::open().await;
    for order_no in ["A-1", "A-2"] {
        let call = shop.idem.scope(slow(order_no, &shop.database));
        assert_eq!(idem_test_support::within(call).await.unwrap(), 1);
    }
    assert_eq!(shop.there().await.0, 2);
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
        .map(|order| idem.scope(book(order, &idem, true, Then::Return)));
    for booked in futures_util::future::join_all(booked).await {
        assert_eq!(booked.unwrap(), 1);
    }
    assert_eq!(shop.there().await.0, 16);
    idem.close().await.unwrap();
    assert!(!pool.is_closed(), "it is the service's");
}
