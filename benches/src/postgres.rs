//! A PostgreSQL that waits for its disk, and the least that its clients can do: bare statements of
//! sqlx on a connection a caller.

use std::ops::Range;
use std::sync::Arc;

use idem_postgres::Postgres;
use idem_runtime::{Error, Idem, idempotent};
use idem_test_support::servers::{Needs, POSTGRES, Server};
use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

use crate::orders::{Order, PlaceOrder, delivery, placed, rate};

/// The tables of the reference, and the business table.
const TABLES: &str = "
    CREATE TABLE bare (key text PRIMARY KEY, done boolean NOT NULL, value bytea NOT NULL)
        WITH (fillfactor = 45);
    CREATE TABLE orders (order_no text PRIMARY KEY, sku text NOT NULL, qty integer NOT NULL,
        total_cents bigint NOT NULL)";

const CLAIM: &str =
    "INSERT INTO bare (key, done, value) VALUES ($1, false, $2) ON CONFLICT (key) DO NOTHING";
const COMPLETE: &str = "UPDATE bare SET done = true, value = $2 WHERE key = $1";
const READ: &str = "SELECT done, value FROM bare WHERE key = $1";
const PLACE: &str = "INSERT INTO orders (order_no, sku, qty, total_cents) VALUES ($1, $2, $3, $4)";

/// A server of the bench's own, with an empty database.
pub struct Database {
    server: Server,
}

impl Database {
    /// Starts a server with these settings beside those that tests have.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let server = Server::start(&POSTGRES, Needs::Own).await?;
        for (setting, value) in settings {
            server.set(setting, value).await?;
        }
        server.shut_down("INT")?;
        server.restart().await?;
        let database = Self { server };
        let mut admin = connect(&format!("{}/postgres", database.server.address())).await?;
        admin.execute("CREATE DATABASE bench").await?;
        database.run(TABLES).await?;
        Ok(database)
    }

    /// Returns its URL for clients.
    pub fn url(&self) -> String {
        format!("{}/bench", self.server.address())
    }

    /// Connects to it.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn connect(&self) -> sqlx::Result<PgConnection> {
        connect(&self.url()).await
    }

    /// Runs statements.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn run(&self, statements: &str) -> sqlx::Result<()> {
        let mut connection = self.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(statements))
            .execute(&mut connection)
            .await?;
        connection.close().await
    }

    /// Returns the number that a query asks for.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn number(&self, query: &str) -> sqlx::Result<f64> {
        let mut connection = self.connect().await?;
        let number = sqlx::query_scalar(AssertSqlSafe(format!("SELECT ({query})::float8")))
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(number)
    }

    /// Returns how many bytes of WAL there have been.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn wal(&self) -> sqlx::Result<f64> {
        self.number("pg_current_wal_insert_lsn() - '0/0'").await
    }
}

async fn connect(url: &str) -> sqlx::Result<PgConnection> {
    let options: sqlx::postgres::PgConnectOptions = url.parse()?;
    options.disable_statement_logging().connect().await
}

/// Opens idem with so many transactions.
///
/// # Errors
/// If the server does not answer.
pub async fn open(url: &str, transactions: u32) -> Result<Idem, Error> {
    let postgres = Postgres::new(url).connections(transactions);
    Idem::builder().open_with(postgres.ledger()).await
}

/// Connections, one a caller: no pool is between.
#[derive(Clone)]
pub struct Bare(Arc<Mutex<Vec<PgConnection>>>);

#[expect(
    clippy::expect_used,
    reason = "a bench that cannot write measures nothing"
)]
impl Bare {
    /// Connects so often.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn connect(url: &str, callers: usize) -> sqlx::Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..callers {
            connections.push(connect(url).await?);
        }
        Ok(Self(Arc::new(Mutex::new(connections))))
    }

    async fn rate<F>(
        &self,
        numbers: Range<u64>,
        callers: usize,
        work: impl Fn(PgConnection, PlaceOrder) -> F + Copy + Send + 'static,
    ) -> f64
    where
        F: Future<Output = sqlx::Result<PgConnection>> + Send,
    {
        rate(numbers, callers, |number| {
            let connections = Arc::clone(&self.0);
            async move {
                let connection = connections.lock().pop().expect("one a caller");
                let worked = work(connection, delivery(number)).await;
                connections.lock().push(worked.expect("the server works"));
            }
        })
        .await
    }

    /// Claims each of these orders, and completes it. Returns how many a second.
    pub async fn claim_and_complete(&self, numbers: Range<u64>, callers: usize) -> f64 {
        self.rate(numbers, callers, async |mut connection, order| {
            let given = serde_json::to_vec(&order).expect("it is JSON");
            let claim = sqlx::query(CLAIM).bind(&order.order_no).bind(given);
            claim.execute(&mut connection).await?;
            let key = order.order_no.clone();
            let result = serde_json::to_vec(&placed(order)).expect("it is JSON");
            let complete = sqlx::query(COMPLETE).bind(key).bind(result);
            complete.execute(&mut connection).await?;
            Ok(connection)
        })
        .await
    }

    /// Reads the result of each of these orders. Returns how many a second.
    pub async fn read(&self, numbers: Range<u64>, callers: usize) -> f64 {
        self.rate(numbers, callers, async |mut connection, order| {
            let read = sqlx::query_as(READ).bind(order.order_no);
            let (done, value): (bool, Vec<u8>) = read.fetch_one(&mut connection).await?;
            let order: Order = serde_json::from_slice(&value).expect("it is JSON");
            assert!(done && order.qty > 0);
            Ok(connection)
        })
        .await
    }

    /// Places each of these orders, in a transaction of its own. Returns how many a second.
    pub async fn place(&self, numbers: Range<u64>, callers: usize) -> f64 {
        self.rate(numbers, callers, async |mut connection, order| {
            let mut transaction = connection.begin().await?;
            insert(&mut transaction, &order).await?;
            transaction.commit().await?;
            Ok(connection)
        })
        .await
    }
}

async fn insert(connection: &mut PgConnection, order: &PlaceOrder) -> sqlx::Result<()> {
    sqlx::query(PLACE)
        .bind(&order.order_no)
        .bind(&order.sku)
        .bind(i32::try_from(order.qty).unwrap_or(i32::MAX))
        .bind(i64::from(order.qty) * 1250)
        .execute(connection)
        .await
        .map(drop)
}

/// What may go wrong where an order is placed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// In idem.
    #[error(transparent)]
    Idem(#[from] Error),
    /// In the database.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// The handler whose claim is committed before its body.
///
/// # Errors
/// Those of idem and of the database.
#[idempotent(name = "orders.counted", key = "order_no")]
pub async fn place_counted(order: PlaceOrder) -> Result<Order, Failed> {
    let mut transaction = idem_postgres::transaction().await?;
    insert(&mut transaction, &order).await?;
    Ok(placed(order))
}

/// The handler whose claim is committed with its result.
///
/// # Errors
/// Those of idem and of the database.
#[idempotent(name = "orders.single", key = "order_no", transaction = "single")]
pub async fn place_single(order: PlaceOrder) -> Result<Order, Failed> {
    let mut transaction = idem_postgres::transaction().await?;
    insert(&mut transaction, &order).await?;
    Ok(placed(order))
}
