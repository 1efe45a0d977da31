//! Facts about the server that the ledger's promises rest on, for `idem doctor` and the like.

use std::time::Duration;

use idem_runtime::ledger::UNFINISHED_MIGRATION;
use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use jiff::Timestamp;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, Postgres, Row, SqlSafeStr};
use tokio::time::timeout;

use crate::error::{of_connecting, of_statement};
use crate::schema::Schema;
use crate::time::Time;

/// How long all questions together may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// The state of a server, its settings, and idem's tables on it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// The server's version, such as `17.2`.
    pub version: String,
    /// The database, and the role that asked.
    pub database: String,
    /// The role that asked.
    pub role: String,
    /// Whether it is a standby, on which nothing can be written.
    pub is_standby: bool,
    /// Whether commits are forced to the disk.
    pub fsync: bool,
    /// Whether a page that a crash cut in half can be mended.
    pub full_page_writes: bool,
    /// When a commit is answered, by default in this role's sessions.
    pub synchronous_commit: String,
    /// The setting that names the standbys which commits wait for; empty without any.
    pub synchronous_standby_names: String,
    /// The standbys that are connected.
    pub standbys: Vec<Standby>,
    /// After what time an idle transaction is ended, by default; none if it never is.
    pub idle_in_transaction: Option<Duration>,
    /// Whether autovacuum runs.
    pub autovacuum: bool,
    /// Connections in use, and the most that there can be.
    pub connections: (u32, u32),
    /// The server's time when it was asked.
    pub time: Timestamp,
    /// The oldest of what keeps dead rows from being removed, as far as this role may see it.
    pub horizon: Option<Horizon>,
    /// The version of idem's schema, 0 if there is none.
    pub schema_version: usize,
    /// The newest version of the schema that this crate knows.
    pub known_version: usize,
    /// Privileges that a service needs and this role lacks, such as `INSERT, UPDATE on idem.record`.
    pub lacks: Vec<String>,
    /// The sizes of idem's tables.
    pub tables: Vec<Table>,
    /// What only tables of the newest version tell.
    pub ledger: Option<LedgerHealth>,
}

/// A standby that is connected. Roles that may not see more get its name alone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Standby {
    /// Its application's name.
    pub name: String,
    /// `sync`, `quorum`, `potential` or `async`.
    pub sync: Option<String>,
    /// How far it is behind.
    pub lag: Option<Duration>,
}

/// What keeps dead rows from being removed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Horizon {
    /// What it is, and its name: a session's process and application, a slot, a prepared transaction.
    pub holder: String,
    /// How many transactions ago it began.
    pub transactions: u64,
    /// How long ago it began, where that is known.
    pub age: Option<Duration>,
}

/// A table of idem's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Table {
    /// Its name, without the schema.
    pub name: String,
    /// Bytes, with its indexes.
    pub bytes: u64,
    /// Bytes of its rows.
    pub heap_bytes: u64,
    /// What its rows would take, in bytes, were it packed as it is meant to be; unknown before it was
    /// analyzed.
    pub expected_heap_bytes: Option<u64>,
    /// Rows, by the server's statistics.
    pub rows: u64,
    /// Dead rows, by the server's statistics.
    pub dead: u64,
    /// Updates since the statistics began, and those of them that touched no index.
    pub updates: (u64, u64),
    /// How long ago it was vacuumed.
    pub vacuumed: Option<Duration>,
}

/// What the ledger's own tables tell.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LedgerHealth {
    /// A name that no other ledger has, except for copies of it: when its tables were made.
    pub id: String,
    /// A number that is another one once a process has opened the ledger, or has begun a call.
    pub changes: u64,
    /// How far the ledger's time is ahead of the server's clock, which was set back.
    pub ahead: Duration,
    /// The processes that beat, by the names of their runners.
    pub living: Vec<String>,
    /// Rows that should have been looked at an hour ago; counted up to 1,001.
    pub overdue: u64,
    /// The last number that was reserved; 0 if no service has used the ledger.
    pub numbers: u64,
    /// Whether a migration into the ledger is not finished, so that no service may open it.
    pub unfinished_migration: bool,
    /// When the server's timeline was last seen to have changed: a replica was promoted, or a backup
    /// was restored.
    pub timeline_changed: Option<Timestamp>,
}

const SERVER: &str = "SELECT current_setting('server_version'), current_database()::text,
    current_user::text, pg_is_in_recovery(), current_setting('fsync')::boolean,
    current_setting('full_page_writes')::boolean, current_setting('synchronous_commit'),
    current_setting('synchronous_standby_names'),
    (SELECT setting::bigint FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'),
    current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    current_setting('max_connections')::bigint, clock_timestamp()";

const STANDBYS: &str = "SELECT application_name, sync_state,
        (extract(epoch FROM replay_lag) * 1000)::bigint
    FROM pg_stat_replication ORDER BY 1";

/// The oldest of the sessions, slots and prepared transactions that keep dead rows.
const HORIZON: &str = "SELECT holder, transactions::bigint, (age * 1000)::bigint FROM (
        SELECT format('session %s of `%s`, which is %s', pid, application_name, state) AS holder,
            greatest(age(backend_xmin), age(backend_xid)) AS transactions,
            extract(epoch FROM clock_timestamp() - xact_start) AS age
        FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
            AND datname = current_database()
        UNION ALL
        SELECT format('replication slot `%s`', slot_name), greatest(age(xmin), age(catalog_xmin)), NULL
        FROM pg_replication_slots
        UNION ALL
        SELECT format('prepared transaction `%s`', gid), age(transaction),
            extract(epoch FROM clock_timestamp() - prepared)
        FROM pg_prepared_xacts WHERE database = current_database()
    ) AS horizon
    WHERE transactions IS NOT NULL ORDER BY transactions DESC, age DESC NULLS LAST LIMIT 1";

/// A page of 8 KiB holds rows up to its fill factor. 28 bytes are each row's own.
const TABLES: &str = "SELECT c.relname::text, pg_total_relation_size(c.oid), pg_relation_size(c.oid),
        (s.n_live_tup * (28 + w.width) * 100 / coalesce(
            (SELECT option_value::bigint FROM pg_options_to_table(c.reloptions)
                WHERE option_name = 'fillfactor'), 100))::bigint,
        s.n_live_tup, s.n_dead_tup, s.n_tup_upd, s.n_tup_hot_upd,
        (extract(epoch FROM clock_timestamp() - greatest(s.last_vacuum, s.last_autovacuum)) * 1000)::bigint
    FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
        LEFT JOIN LATERAL (
            SELECT sum(avg_width) AS width FROM pg_stats
            WHERE pg_stats.schemaname = s.schemaname AND tablename = c.relname
        ) AS w ON true
    WHERE s.schemaname = $1 ORDER BY 2 DESC";

/// What a service does with each table. A table that is not there lacks nothing.
const LACKS: &str =
    "SELECT format('%s on %s.%s', string_agg(privilege, ', ' ORDER BY at), $1, name)
    FROM (VALUES
        ('record', '{SELECT,INSERT,UPDATE,DELETE}'::text[]),
        ('letter', '{SELECT,INSERT,UPDATE,DELETE}'), ('note', '{SELECT,INSERT,UPDATE,DELETE}'),
        ('runner', '{SELECT,INSERT,UPDATE,DELETE}'), ('number', '{SELECT,UPDATE}'),
        ('clock', '{SELECT,UPDATE}'), ('server', '{SELECT,INSERT,UPDATE}'),
        ('schema_version', '{SELECT}')
    ) AS needs (name, privileges)
        CROSS JOIN unnest(privileges) WITH ORDINALITY AS p (privilege, at)
        JOIN pg_namespace AS n ON n.nspname = $1
        JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = name
    WHERE NOT has_table_privilege(c.oid, privilege) GROUP BY name
    UNION ALL
    SELECT format('UPDATE on sequence %s.%s', $1, relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE nspname = $1 AND relname = 'note_number' AND NOT has_sequence_privilege(c.oid, 'UPDATE')
    UNION ALL
    SELECT format('USAGE on schema %s', nspname) FROM pg_namespace AS n
    WHERE nspname = $1 AND NOT has_schema_privilege(n.oid, 'USAGE')";

const LEDGER: &str = "SELECT (SELECT (extract(epoch FROM ahead) * 1000)::bigint FROM idem.clock),
    ARRAY (SELECT name FROM idem.runner WHERE NOT dead AND until > idem.time() ORDER BY id),
    (SELECT count(*) FROM (SELECT FROM idem.record
        WHERE bucket < idem.time() - interval '1 hour' LIMIT 1001) AS overdue),
    (SELECT last FROM idem.number), EXISTS (SELECT FROM idem.note WHERE key = $1),
    (SELECT changed_at FROM idem.server),
    (SELECT (extract(epoch FROM min(since)) * 1000000)::bigint FROM idem.schema_version),
    (SELECT coalesce(max(id), 0) + coalesce((extract(epoch FROM max(until)) * 1000000)::bigint, 0)
        FROM idem.runner)";

impl Health {
    pub(crate) async fn ask(
        schema: &Schema,
        mut connection: PgConnection,
    ) -> Result<Self, StoreError> {
        let asking = async {
            let health = Self::of(schema, &mut connection).await?;
            // Closed it is in any case.
            let _ = connection.close().await;
            Ok(health)
        };
        timeout(DEADLINE, asking).await.unwrap_or_else(|_| {
            let message = "the server did not answer in time";
            Err(StoreError::new(StoreErrorKind::Away, message))
        })
    }

    async fn of(schema: &Schema, on: &mut PgConnection) -> Result<Self, StoreError> {
        // One session answers all, behind a pooler too.
        let begun = sqlx::raw_sql("BEGIN READ ONLY").execute(&mut *on).await;
        begun.map_err(of_connecting)?;
        let row = unnamed(SERVER).fetch_one(&mut *on).await;
        let mut health = row
            .and_then(|row| Self::of_server(&row))
            .map_err(of_statement)?;
        let rows = unnamed(STANDBYS).fetch_all(&mut *on).await;
        health.standbys = each(rows, |row| {
            Ok(Standby {
                name: row.try_get(0)?,
                sync: row.try_get(1)?,
                lag: millis(row.try_get(2)?),
            })
        })?;
        let rows = unnamed(HORIZON).fetch_all(&mut *on).await;
        let horizon = each(rows, |row| {
            Ok(Horizon {
                holder: row.try_get(0)?,
                transactions: number(row.try_get(1)?),
                age: millis(row.try_get(2)?),
            })
        });
        health.horizon = horizon?.pop();
        let rows = unnamed(LACKS).bind(schema.name()).fetch_all(&mut *on).await;
        health.lacks = each(rows, |row| row.try_get(0))?;
        let rows = unnamed(TABLES)
            .bind(schema.name())
            .fetch_all(&mut *on)
            .await;
        health.tables = each(rows, table)?;
        health.known_version = Schema::known();
        if health
            .lacks
            .iter()
            .any(|lacks| lacks.starts_with("USAGE") || lacks.starts_with("SELECT"))
        {
            return Ok(health);
        }
        health.schema_version = schema.version(on).await?;
        if health.schema_version == health.known_version {
            let query = unnamed(schema.sql(LEDGER)).bind(UNFINISHED_MIGRATION.as_bytes());
            let row = query.fetch_one(on).await;
            let ledger = row.and_then(|row| {
                let numbers = number(row.try_get(3)?);
                Ok(LedgerHealth {
                    id: format!("{}@{:016x}", schema.name(), row.try_get::<i64, _>(6)?),
                    // Each of them only grows.
                    changes: numbers.saturating_add(number(row.try_get(7)?)),
                    ahead: millis(row.try_get(0)?).unwrap_or_default(),
                    living: row.try_get(1)?,
                    overdue: number(row.try_get(2)?),
                    numbers,
                    unfinished_migration: row.try_get(4)?,
                    timeline_changed: row.try_get::<Option<Time>, _>(5)?.map(|Time(at)| at),
                })
            });
            health.ledger = Some(ledger.map_err(of_statement)?);
        }
        Ok(health)
    }

    fn of_server(row: &PgRow) -> sqlx::Result<Self> {
        let small =
            |at| Ok::<_, sqlx::Error>(u32::try_from(row.try_get::<i64, _>(at)?).unwrap_or(0));
        Ok(Self {
            version: row.try_get(0)?,
            database: row.try_get(1)?,
            role: row.try_get(2)?,
            is_standby: row.try_get(3)?,
            fsync: row.try_get(4)?,
            full_page_writes: row.try_get(5)?,
            synchronous_commit: row.try_get(6)?,
            synchronous_standby_names: row.try_get(7)?,
            idle_in_transaction: millis(row.try_get(8)?).filter(|after| !after.is_zero()),
            autovacuum: row.try_get(9)?,
            connections: (small(10)?, small(11)?),
            time: row.try_get::<Time, _>(12)?.0,
            standbys: Vec::new(),
            horizon: None,
            schema_version: 0,
            known_version: 0,
            lacks: Vec::new(),
            tables: Vec::new(),
            ledger: None,
        })
    }
}

/// Returns a query whose name does not stay in a session that others have next.
fn unnamed<'q>(sql: impl SqlSafeStr) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(sql).persistent(false)
}

fn table(row: &PgRow) -> sqlx::Result<Table> {
    let count = |at| Ok::<_, sqlx::Error>(number(row.try_get(at)?));
    let expected: Option<i64> = row.try_get(3)?;
    Ok(Table {
        name: row.try_get(0)?,
        bytes: count(1)?,
        heap_bytes: count(2)?,
        expected_heap_bytes: expected.map(number),
        rows: count(4)?,
        dead: count(5)?,
        updates: (count(6)?, count(7)?),
        vacuumed: millis(row.try_get(8)?),
    })
}

fn each<T>(
    rows: sqlx::Result<Vec<PgRow>>,
    read: impl FnMut(&PgRow) -> sqlx::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let read = rows.and_then(|rows| rows.iter().map(read).collect());
    read.map_err(of_statement)
}

fn number(of: i64) -> u64 {
    u64::try_from(of).unwrap_or(0)
}

fn millis(of: Option<i64>) -> Option<Duration> {
    of.map(|millis| Duration::from_millis(number(millis)))
}
