//! Runners, and the clock that their leases go by.

use std::time::Duration;

use idem_runtime::ledger::shared::{Runner, StoreError};
use jiff::Timestamp;
use sqlx::Row;

use super::PostgresStore;
use super::write::runner_dead;
use crate::error::of_statement;
use crate::names::text;
use crate::time::Time;

/// Time goes on from the latest that was told, if the clock was set back.
const SET_CLOCK: &str = "UPDATE idem.clock
    SET ahead = greatest(ahead, $1 - idem.server_clock()), told = greatest(told, $1)
    WHERE told < $1 OR ahead < $1 - idem.server_clock()";

/// A runner that has reserved no number claims with numbers that nobody has reserved.
const BEAT: &str = "WITH tick AS (
        UPDATE idem.clock SET
            ahead = CASE WHEN told = '-infinity' THEN ahead
                ELSE greatest(ahead, told - idem.server_clock()) END,
            told = greatest(told, idem.server_clock() + ahead)
        RETURNING told AS now
    )
    INSERT INTO idem.runner AS r (name, until, oldest)
    SELECT $1, tick.now + $2::bigint * interval '1 microsecond',
        CASE $3::bigint WHEN 0 THEN (SELECT last + 1 FROM idem.number) ELSE $3 END
    FROM tick
    ON CONFLICT (name) DO UPDATE SET until = excluded.until, oldest = CASE $3
        WHEN 0 THEN r.oldest ELSE $3 END
    WHERE NOT r.dead
    RETURNING (SELECT now FROM tick)";

/// One that is not known has no claims.
const RETIRE: &str = "INSERT INTO idem.runner AS r (name, until, oldest, dead, died_at)
    SELECT $1, now, 9223372036854775807, true, now FROM idem.time() AS now
    ON CONFLICT (name) DO UPDATE SET dead = true, died_at = coalesce(r.died_at, excluded.died_at)
    WHERE r.dead OR $2::timestamptz IS NULL OR (r.until = $2 AND r.until <= excluded.until)
    RETURNING 1";

impl PostgresStore {
    pub(super) async fn set_clock(&self, told: Timestamp) -> Result<(), StoreError> {
        let query = sqlx::query(self.schema.sql(SET_CLOCK)).bind(Time(told));
        // A read may ask for it where its caller is, and nothing waits for that one's session.
        self.reads.change(query).await.map(drop)
    }

    pub(super) async fn beat_runner(
        &self,
        runner: &Runner,
        lease: Duration,
        oldest: u64,
    ) -> Result<Timestamp, StoreError> {
        let lease = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
        let query = sqlx::query(self.schema.sql(BEAT))
            .bind(text(runner))
            .bind(lease)
            .bind(oldest.cast_signed());
        let rows = self.keeper.rows(query).await?;
        let row = rows.first().ok_or_else(|| runner_dead(runner))?;
        let now: Time = row.try_get(0).map_err(of_statement)?;
        Ok(self.time.tell(now.0))
    }

    pub(super) async fn retire_runner(
        &self,
        runner: &Runner,
        until: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(self.schema.sql(RETIRE))
            .bind(text(runner))
            .bind(until.map(Time));
        Ok(!self.writes.rows(query).await?.is_empty())
    }
}
