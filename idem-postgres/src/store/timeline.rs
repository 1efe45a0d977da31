//! The server's timeline: another one says that a replica was promoted, or that a backup was restored,
//! and what the old primary had acknowledged last may be gone.

use idem_runtime::ledger::shared::StoreError;
use sqlx::Row;

use super::PostgresStore;
use crate::error::of_statement;

/// Of all processes, the first that sees another timeline changes the row, and the others do not.
const TIMELINE: &str = "WITH here AS MATERIALIZED (
        SELECT system_identifier::text AS system,
            left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline
        FROM pg_control_system()
    ),
    before AS MATERIALIZED (SELECT system, timeline FROM idem.server FOR UPDATE),
    noted AS (
        INSERT INTO idem.server AS s (system, timeline) SELECT system, timeline FROM here
        ON CONFLICT (one) DO UPDATE
            SET system = excluded.system, timeline = excluded.timeline,
                changed_at = clock_timestamp()
            WHERE (s.system, s.timeline) <> (excluded.system, excluded.timeline)
    )
    SELECT before.timeline, here.timeline FROM here, before
    WHERE (before.system, before.timeline) <> (here.system, here.timeline)";

impl PostgresStore {
    /// Looks at the timeline if the keeper has a new connection: no connection outlives its server.
    pub(super) async fn look_at_timeline(&self) {
        if !self.keeper.is_new() {
            return;
        }
        match self.changed_timeline().await {
            Ok(None) => {}
            Ok(Some((before, now))) => {
                metrics::counter!("idem_postgres_timeline_changes_total").increment(1);
                tracing::error!(
                    before,
                    now,
                    "the database has another timeline: a replica was promoted, or a backup was \
                     restored. What was acknowledged shortly before may be missing, and messages \
                     of that time may run again: compare the business tables with the brokers"
                );
            }
            // Some managed servers do not tell.
            Err(error) => tracing::debug!("the server's timeline is not known: {error:#}"),
        }
    }

    async fn changed_timeline(&self) -> Result<Option<(String, String)>, StoreError> {
        let rows = self
            .keeper
            .rows(sqlx::query(self.schema.sql(TIMELINE)))
            .await?;
        let changed = rows
            .first()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        changed.transpose().map_err(of_statement)
    }
}
