//! The tables beside a ledger on PostgreSQL: one that `existing` looks in, which is written in a
//! commit of its own, and one whose rows commit with the record.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};

use super::{Table as Any, table};

/// Several processes make the tables at once. Only the ledger keeps the second one's rows unique.
const TABLES: &str = "
    SELECT pg_advisory_xact_lock(16);
    CREATE TABLE IF NOT EXISTS found (n bigint PRIMARY KEY, token bigint, number int);
    CREATE TABLE IF NOT EXISTS written (n bigint, token bigint, digest bigint);
    CREATE INDEX IF NOT EXISTS written_n ON written (n);
";

pub(crate) struct Table(PgPool);

impl Table {
    pub(crate) async fn connect(url: &str) -> sqlx::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(5))
            .connect(url)
            .await?;
        sqlx::raw_sql(TABLES).execute(&pool).await?;
        Ok(Self(pool))
    }

    pub(super) async fn look(&self, n: u64) -> sqlx::Result<Option<(u64, u32)>> {
        let found: Option<(i64, i32)> =
            sqlx::query_as("SELECT token, number FROM found WHERE n = $1")
                .bind(n.cast_signed())
                .fetch_optional(&self.0)
                .await?;
        Ok(found.map(|(token, number)| (token.cast_unsigned(), number.cast_unsigned())))
    }

    pub(super) async fn put(&self, n: u64, token: u64, number: u32) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO found VALUES ($1, $2, $3)")
            .bind(n.cast_signed())
            .bind(token.cast_signed())
            .bind(number.cast_signed())
            .execute(&self.0)
            .await?;
        Ok(())
    }
}

/// Writes a message's row on the attempt's transaction.
pub(crate) async fn row(
    tx: &mut PgConnection,
    n: u64,
    token: u64,
    digest: u64,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO written VALUES ($1, $2, $3)")
        .bind(n.cast_signed())
        .bind(token.cast_signed())
        .bind(digest.cast_signed())
        .execute(tx)
        .await?;
    Ok(())
}

/// Returns token and digest of each row of a message.
pub(crate) async fn rows(n: u64) -> sqlx::Result<Vec<(u64, u64)>> {
    let Any::Database(Table(pool)) = table() else {
        return Ok(Vec::new());
    };
    let rows: Vec<(i64, i64)> = sqlx::query_as("SELECT token, digest FROM written WHERE n = $1")
        .bind(n.cast_signed())
        .fetch_all(pool)
        .await?;
    let unsigned = |(token, digest): (i64, i64)| (token.cast_unsigned(), digest.cast_unsigned());
    Ok(rows.into_iter().map(unsigned).collect())
}
