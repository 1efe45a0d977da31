//! Rows of records: reading, numbers, and what is due.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use idem_runtime::ledger::shared::{Owner, Row, Rows, StoreError};
use idem_runtime::ledger::{LedgerError, Waiting};
use idem_runtime::protocol::{Record, RecordId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::literal::Literal;
use super::statement::now;
use super::{PostgresStore, count, limit, only};
use crate::error::of_statement;
use crate::names::{from_text, row_id};
use crate::time::Time;
use crate::transaction::{Open, PostgresTransaction};

const READ: &str = concat!(
    now!(),
    "
    SELECT now.now, r.id, r.version, r.record, r.due, r.owner, o.name, o.until, o.dead
    FROM now
    LEFT JOIN idem.record r ON r.id = ANY ($1)
    LEFT JOIN idem.runner o ON o.id = r.owner"
);

/// Prepares the statement of [`read_beginning`](PostgresStore::read_beginning) in a session.
pub(super) const PREPARE: &str = "PREPARE idem_read (bytea) AS SELECT * FROM idem.read_row($1)";

/// Reads in a transaction of its own: a body may set the isolation of one that has run no query yet.
const READ_FIRST: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; ";

const RESERVE: &str = "UPDATE idem.number SET last = last + $1 RETURNING last - $1 + 1 AS first";

/// The rows whose time has come, the latest first: a backlog does not hide what is urgent. Then those
/// of runners that are dead or late, which may be there since their oldest claim.
const DUE: &str = concat!(
    now!(),
    "
    SELECT handler, key FROM (
        (SELECT r.handler, r.key FROM now, LATERAL (
            SELECT * FROM idem.record WHERE bucket <= now.now ORDER BY bucket DESC LIMIT 10000
        ) AS r WHERE r.live AND r.due <= now.now)
        UNION
        (SELECT r.handler, r.key FROM now, idem.runner o
            JOIN idem.record r ON r.claimed >= o.oldest AND r.owner = o.id AND r.live
            WHERE (o.dead OR o.until <= now.now) AND NOT o.swept)
    ) AS r LIMIT $1"
);

/// Runners that cannot write any more and have no row left need not be looked at again.
const SWEEP_RUNNERS: &str = concat!(
    now!(),
    ",
    late AS (
        UPDATE idem.runner AS o SET dead = true, died_at = now.now
        FROM now WHERE NOT o.dead AND o.until < now.now - interval '10 minutes'
    ),
    gone AS (
        DELETE FROM idem.runner AS o
        USING now WHERE o.swept AND o.died_at < now.now - interval '7 days'
    )
    UPDATE idem.runner AS o SET swept = true
    FROM now WHERE o.dead AND NOT o.swept AND o.died_at < now.now - interval '1 minute'
        AND NOT EXISTS (
            SELECT FROM idem.record r WHERE r.claimed >= o.oldest AND r.owner = o.id AND r.live
        )"
);

const WAITING: &str = "SELECT count(*), min(waiting) FROM idem.record WHERE waiting IS NOT NULL";

/// A row may be due up to ten minutes before its bucket, so that completing it was a heap-only update.
const REMOVE_DUE: &str = concat!(
    now!(),
    ",
    near AS MATERIALIZED (
        SELECT r.id, r.live, r.due, r.bucket FROM now, LATERAL (
            SELECT * FROM idem.record WHERE bucket <= now.now + interval '10 minutes'
            ORDER BY bucket LIMIT least($1, 100000) * 10
        ) AS r
    ),
    removed AS (
        DELETE FROM idem.record USING now WHERE id = ANY (ARRAY (
            SELECT id FROM idem.record WHERE id = ANY (ARRAY (
                SELECT near.id FROM near, now WHERE NOT near.live AND near.due <= now.now LIMIT $1
            )) FOR UPDATE SKIP LOCKED
        )) AND NOT record.live AND record.due <= now.now
        RETURNING 1
    ),
    moved AS (
        UPDATE idem.record SET bucket = date_trunc('minute', record.due) FROM now
        WHERE id = ANY (ARRAY (
            SELECT id FROM idem.record WHERE id = ANY (ARRAY (
                SELECT near.id FROM near, now WHERE near.bucket <= now.now
                    AND (near.due IS NULL OR near.due > now.now + interval '10 minutes')
            )) FOR UPDATE SKIP LOCKED
        )) AND (record.due IS NULL OR record.due > now.now + interval '10 minutes')
    )
    SELECT count(*) FROM removed"
);

impl PostgresStore {
    pub(super) async fn read_rows(&self, ids: &[RecordId]) -> Result<Rows, StoreError> {
        let hashes: Vec<_> = ids.iter().map(row_id).collect();
        let query = sqlx::query(self.schema.sql(READ)).bind(&hashes);
        let found = self.reads.rows(query).await?;
        let now: Time = only(&found)?;
        let now = self.told(now.0).await?;
        let mut rows = HashMap::<_, _, RandomState>::default();
        for row in &found {
            let id: Option<&[u8]> = row.try_get("id").map_err(of_statement)?;
            if let Some(id) = id {
                rows.insert(id.to_vec(), decode(row).map_err(of_statement)?);
            }
        }
        let in_order = hashes.iter().map(|hash| match rows.remove(&hash[..]) {
            Some(row) => row.map(Some),
            None => Ok(None),
        });
        let rows = in_order.collect();
        Ok(Rows { rows, now })
    }

    /// Reads a row and begins a transaction in one message, if a connection for it is free.
    pub(super) async fn read_beginning(
        &self,
        id: &RecordId,
    ) -> Result<Option<(Rows, PostgresTransaction)>, StoreError> {
        let Some(session) = self.transactions.idle().await else {
            return Ok(None);
        };
        let mut sql = READ_FIRST.to_owned();
        if self.prepares {
            sql += "EXECUTE idem_read(";
        } else {
            sql += &format!("SELECT * FROM {}.read_row(", self.schema.name());
        }
        row_id(id).literal(&mut sql);
        sql += "); COMMIT; ";
        sql += &self.begin;
        // What failed is read again on another connection.
        let Ok((open, row)) = Open::begin_after_query(session, sql).await else {
            return Ok(None);
        };
        let now: Time = row.try_get_unchecked("now").map_err(of_statement)?;
        let now = self.told(now.0).await?;
        let version: Option<i64> = row.try_get("version").map_err(of_statement)?;
        let found = version
            .map(|_| decode(&row).map_err(of_statement))
            .transpose()?;
        let rows = vec![found.transpose()];
        Ok(Some((Rows { rows, now }, self.transaction(open))))
    }

    pub(super) async fn reserve_numbers(&self, count: u64) -> Result<u64, StoreError> {
        let query = sqlx::query(self.schema.sql(RESERVE)).bind(count.cast_signed());
        self.number(query).await.map(i64::cast_unsigned)
    }

    pub(super) async fn due_rows(&self, most: usize) -> Result<Vec<RecordId>, StoreError> {
        let query = sqlx::query(self.schema.sql(DUE)).bind(limit(most));
        let rows = self.reads.rows(query).await?;
        let ids = rows.iter().map(|row| {
            let (handler, key): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
            Ok(RecordId::new(&*from_text(handler), &*from_text(key)))
        });
        ids.collect::<sqlx::Result<_>>().map_err(of_statement)
    }

    pub(super) async fn waiting_rows(&self) -> Result<Waiting, StoreError> {
        let rows = self
            .reads
            .rows(sqlx::query(self.schema.sql(WAITING)))
            .await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound);
        let read = row.and_then(|row| Ok((row.try_get(0)?, row.try_get::<Option<Time>, _>(1)?)));
        let (waiting, oldest) = read.map_err(of_statement)?;
        Ok(Waiting::new(count(waiting), oldest.map(|oldest| oldest.0)))
    }

    pub(super) async fn remove_due_rows(&self, most: usize) -> Result<u64, StoreError> {
        self.reads
            .change(sqlx::query(self.schema.sql(SWEEP_RUNNERS)))
            .await?;
        let query = sqlx::query(self.schema.sql(REMOVE_DUE)).bind(limit(most));
        let rows = self.reads.change(query).await?;
        only(&rows).map(count)
    }

    /// Runs a statement that writes and returns one number.
    pub(super) async fn number(
        &self,
        query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<i64, StoreError> {
        only(&self.writes.rows(query).await?)
    }
}

fn decode(row: &PgRow) -> sqlx::Result<Result<Row, LedgerError>> {
    // Where the answer is text, the types are others.
    let version: i64 = row.try_get("version")?;
    let record: Option<Vec<u8>> = row.try_get_unchecked("record")?;
    let due: Option<Time> = row.try_get_unchecked("due")?;
    let owner = match (
        row.try_get::<Option<i64>, _>("owner")?,
        row.try_get("name")?,
    ) {
        (None, _) => Owner::None,
        (Some(_), Some(name)) if !row.try_get::<bool, _>("dead")? => {
            let (name, until): (&str, Time) = (name, row.try_get_unchecked("until")?);
            Owner::Until(from_text(name).into(), until.0)
        }
        (Some(_), _) => Owner::Dead,
    };
    Ok(record
        .as_deref()
        .map(Record::decode)
        .transpose()
        .map(|record| Row {
            version: version.cast_unsigned(),
            record,
            due: due.map(|due| due.0),
            owner,
        }))
}
