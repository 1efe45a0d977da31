//! Calls on runtimes that stand still, and handles that outlive their runtime.

use std::time::Duration;

use idem_postgres::{Postgres, transaction};
use idem_runtime::{Error, Idem, idempotent};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::database::Database;

const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
enum PlaceError {
    #[error(transparent)]
    Idem(#[from] Error),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

#[idempotent(
    name = "orders.place",
    key = "order_no",
    retries = 0,
    transaction = "single"
)]
async fn place(order_no: String) -> Result<(), PlaceError> {
    let mut tx = transaction().await?;
    let insert = sqlx::query("INSERT INTO orders (order_no) VALUES ($1)").bind(order_no);
    insert.execute(&mut *tx).await?;
    Ok(())
}

async fn shop() -> (Database, Idem) {
    let database = Database::with_orders().await.unwrap();
    let idem = Idem::builder().open_with(Postgres::connect(database.url()));
    (database, idem.await.unwrap())
}

/// Begins calls on a runtime, and drives it until so many of them are through.
fn leave_calls(idem: &Idem, name: usize, through: usize) -> (Runtime, JoinSet<()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut calls = JoinSet::new();
    runtime.block_on(async {
        for number in 0..16 {
            let (idem, order_no) = (idem.clone(), format!("Left-{name}-{number}"));
            calls.spawn(async move { idem.scope(place(order_no)).await.unwrap() });
        }
        for _ in 0..=through {
            tokio::task::yield_now().await;
        }
        for _ in 0..through {
            calls.join_next().await;
        }
    });
    (runtime, calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_stands_still_stops_no_other() {
    let (_database, idem) = shop().await;
    let leaving = idem.clone();
    let left = tokio::task::spawn_blocking(move || {
        let left = (0..6).map(|runtime| leave_calls(&leaving, runtime, runtime));
        left.collect::<Vec<_>>()
    });
    let left = left.await.unwrap();
    for number in 0..32 {
        let call = idem.scope(place(format!("A-{number}")));
        timeout(DEADLINE, call).await.unwrap().unwrap();
    }
    // Runtimes end where blocking is allowed.
    tokio::task::spawn_blocking(move || drop(left))
        .await
        .unwrap();
    timeout(DEADLINE, idem.close()).await.unwrap().unwrap();
}

#[test]
fn an_idem_may_be_dropped_outside_of_a_runtime() {
    let runtime = Runtime::new().unwrap();
    let (_database, idem) = runtime.block_on(async {
        let (database, idem) = shop().await;
        let mut connection = database.connect().await.unwrap();
        let listens = async {
            loop {
                let listens: bool = sqlx::query_scalar(
                    "SELECT EXISTS (SELECT FROM pg_stat_activity
                        WHERE datname = current_database() AND query LIKE 'SELECT pg_notify%')",
                )
                .fetch_one(&mut connection)
                .await
                .unwrap();
                if listens {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(DEADLINE, listens).await.unwrap();
        (database, idem)
    });
    drop(runtime);
    drop(idem);
}

#[idempotent(name = "orders.count", key = "order_no", retries = 0)]
async fn count(order_no: String) -> Result<usize, Error> {
    Ok(order_no.len())
}

/// Its callers are served by idem's own thread.
#[test]
fn a_runtime_that_drives_no_io_can_call() {
    let runtime = Runtime::new().unwrap();
    let (database, idem) = runtime.block_on(shop());
    let bare = Builder::new_current_thread().build().unwrap();
    for _ in 0..2 {
        let counted = bare.block_on(idem.scope(count("A-1".to_owned())));
        assert_eq!(counted.unwrap(), 3);
    }
    runtime.block_on(idem.close()).unwrap();
    drop(database);
}
