//! `durare` on SQLite: a workflow under the order's number.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use durare::{DurableContext, DurableEngine, Result, SqliteProvider, WorkflowOptions};
use idem_benches::orders::{Order, PlaceOrder};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::peer::{Peer, work};

/// As its documentation has it: what takes effect is a step, which is written down before the
/// workflow goes on.
#[durare::workflow]
async fn place_in_a_step(ctx: DurableContext, order: PlaceOrder) -> Result<Order> {
    step(&ctx, order).await
}

#[durare::step]
async fn step(ctx: &DurableContext, order: PlaceOrder) -> Result<Order> {
    Ok(work(order))
}

/// The least it can do: the workflow's start and its end are written down.
#[durare::workflow]
async fn place(_ctx: DurableContext, order: PlaceOrder) -> Result<Order> {
    Ok(work(order))
}

/// What a commit waits for.
pub enum Durability {
    /// As `SqliteProvider::connect` sets it: a write-ahead log with `synchronous = NORMAL`. A
    /// commit is safe from the process's death; a power cut may take the last ones.
    Default,
    /// The same pool with `synchronous = FULL`: each commit is synced.
    Full,
}

/// `durare`.
pub struct Durare {
    engine: DurableEngine,
    in_a_step: bool,
}

impl Durare {
    /// A database in this file.
    ///
    /// # Errors
    /// Those of durare and SQLite.
    pub async fn open(file: &Path, durability: Durability, in_a_step: bool) -> Result<Self> {
        let url = format!("sqlite://{}", file.display());
        let provider = match durability {
            Durability::Default => SqliteProvider::connect(&url).await?,
            Durability::Full => {
                let options = SqliteConnectOptions::from_str(&url)?
                    .create_if_missing(true)
                    .foreign_keys(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(Duration::from_secs(5));
                SqliteProvider::from_pool(
                    SqlitePoolOptions::new()
                        .max_connections(5)
                        .connect_with(options)
                        .await?,
                )
            }
        };
        Ok(Self {
            engine: DurableEngine::new(Arc::new(provider)).await?,
            in_a_step,
        })
    }
}

impl Peer for Durare {
    async fn place(&self, order: PlaceOrder) -> Order {
        let options = WorkflowOptions::with_id(order.order_no.as_str());
        let started = if self.in_a_step {
            self.engine.start_with(PlaceInAStep, order, options).await
        } else {
            self.engine.start_with(Place, order, options).await
        };
        started.unwrap().await.unwrap()
    }
}
