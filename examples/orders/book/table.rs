//! The order book beside a ledger on PostgreSQL: the table `orders` in the same database.

use anyhow::Context;
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::order::{Order, OrderError};

/// One lock for all processes that start at a time, because `IF NOT EXISTS` alone can collide.
const MAKE: &str = "
    SELECT pg_advisory_xact_lock(hashtext('orders'));
    CREATE TABLE IF NOT EXISTS orders (
        order_no    text   PRIMARY KEY,
        sku         text   NOT NULL,
        qty         bigint NOT NULL,
        total_cents bigint NOT NULL
    )";

/// The placed orders, of all processes. A clone is another handle of the same table.
#[derive(Debug, Clone)]
pub(crate) struct TableBook {
    /// For what is not part of an attempt.
    pool: PgPool,
}

impl TableBook {
    /// Makes the table where it is missing.
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await;
        let pool = pool.context("cannot connect to the order book")?;
        let made = sqlx::raw_sql(MAKE).execute(&pool).await;
        made.context("cannot make the table orders")?;
        Ok(Self { pool })
    }

    pub(crate) async fn find(&self, order_no: &str) -> Result<Option<Order>, OrderError> {
        let mut tx = idem_postgres::transaction().await?;
        let found: Option<(String, i64, i64)> =
            sqlx::query_as("SELECT sku, qty, total_cents FROM orders WHERE order_no = $1")
                .bind(order_no)
                .fetch_optional(&mut *tx)
                .await?;
        Ok(found.map(|(sku, qty, total_cents)| Order {
            order_no: order_no.to_owned(),
            sku,
            qty,
            total_cents,
        }))
    }

    /// Inserts the order. If the primary key refuses the row, the attempt fails, which rolls it
    /// back, and the next attempt finds the order.
    pub(crate) async fn insert(&self, order: Order) -> Result<(), OrderError> {
        let mut tx = idem_postgres::transaction().await?;
        sqlx::query("INSERT INTO orders (order_no, sku, qty, total_cents) VALUES ($1, $2, $3, $4)")
            .bind(order.order_no)
            .bind(order.sku)
            .bind(order.qty)
            .bind(order.total_cents)
            .execute(&mut *tx)
            .await?;
        Ok(())
    }

    pub(crate) async fn len(&self) -> Result<usize, OrderError> {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
            .fetch_one(&self.pool)
            .await?;
        Ok(usize::try_from(rows).unwrap_or_default())
    }
}
