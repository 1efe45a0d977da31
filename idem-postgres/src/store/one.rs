//! The write of one row with nothing beside it, as most calls make it: a plain statement, which costs the
//! server less than the function that writes batches.

use idem_runtime::ledger::shared::{Runner, Write};
use jiff::Timestamp;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use super::literal::{Call, Literals};
use super::write::begin_call;
use crate::names::{row_id, text};
use crate::schema::Schema;
use crate::time::Time;

/// As `idem.write_rows` begins, whose comments say why.
macro_rules! run {
    () => {
        "WITH run AS MATERIALIZED (
            SELECT now, now <= $2 AS in_time, runner, runner IS NOT NULL AS lives,
                current_setting('idem' || '.attempt', true) IS NOT DISTINCT FROM '1' AS is_attempt,
                current_setting('synchronous_commit') <> 'off'
                    OR set_config('synchronous_commit', 'on', true) = 'on' AS synced
            FROM (
                SELECT idem.server_clock() + ahead AS now,
                    (SELECT id FROM idem.runner WHERE name = $1 AND NOT dead) AS runner
                FROM idem.clock WHERE one
            ) AS clock
        )"
    };
}

/// Adds a row. Nothing takes place if the runner is dead, if it comes later than `$2`, or if the body
/// ended the attempt's transaction, `$3`, that it is in.
macro_rules! add {
    () => {
        concat!(
            run!(),
            ", written AS (
                INSERT INTO idem.record
                    (id, version, owner, claimed, bucket, due, waiting, live, handler, key, record)
                SELECT $4, $5, CASE WHEN $9 THEN runner END, CASE WHEN $9 THEN $5 END,
                    date_trunc('minute', $7), $7, $8, $6, $11, $12, $10
                FROM run WHERE lives AND in_time AND synced AND (is_attempt OR NOT $3)
                ON CONFLICT (id) DO NOTHING RETURNING version
            )"
        )
    };
}

/// Changes the row that has the version `$11`, as [`add`] adds one.
macro_rules! change {
    () => {
        concat!(
            run!(),
            ", written AS (
                UPDATE idem.record AS r SET version = $5, owner = CASE WHEN $9 THEN runner END,
                    claimed = CASE WHEN $9 THEN $5 ELSE r.claimed END,
                    bucket = idem.bucket(r.bucket, $7, $6),
                    due = $7, waiting = $8, live = $6, record = $10
                FROM run WHERE lives AND in_time AND synced AND (is_attempt OR NOT $3)
                    AND r.id = $4 AND r.version = $11
                RETURNING r.version
            )"
        )
    };
}

/// The columns of `idem.write_rows`.
macro_rules! answer {
    () => {
        "SELECT now, in_time, is_attempt, lives, ARRAY (SELECT version FROM written) AS versions FROM run"
    };
}

/// Answers with the time, and fails if nothing was written.
macro_rules! last {
    () => {
        "SELECT (SELECT (extract(epoch FROM now) * 1000000)::bigint FROM run),
            CASE WHEN NOT EXISTS (SELECT FROM written) THEN idem.overtaken() END"
    };
}

const ADD: &str = concat!(add!(), answer!());
const CHANGE: &str = concat!(change!(), answer!());

/// Prepares the statements of [`last`] in a session.
pub(super) const PREPARE: &str = concat!(
    "PREPARE idem_add (text, timestamptz, boolean, bytea, bigint, boolean, timestamptz, timestamptz, \
        boolean, bytea, text, text) AS ",
    add!(),
    last!(),
    "; PREPARE idem_change (text, timestamptz, boolean, bytea, bigint, boolean, timestamptz, \
        timestamptz, boolean, bytea, bigint) AS ",
    change!(),
    last!()
);

/// Makes the statement of a write in a runner's name, which takes place by `latest` or never.
pub(super) fn statement<'q>(
    schema: &Schema,
    runner: &'q Runner,
    latest: Timestamp,
    write: &'q Write,
) -> Query<'q, Postgres, PgArguments> {
    let sql = if write.expected.is_none() {
        ADD
    } else {
        CHANGE
    };
    given(sqlx::query(schema.sql(sql)), runner, latest, false, write)
}

/// Makes the statements of an attempt's last write in a session where [`PREPARE`] ran.
pub(super) fn last(runner: &Runner, latest: Timestamp, write: &Write) -> String {
    let Literals(arguments) = given(Literals::default(), runner, latest, true, write);
    match write.expected {
        None => format!("EXECUTE idem_add({arguments})"),
        // Planned once, for a table that may be empty then and is full later.
        Some(_) => format!(
            "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; \
             EXECUTE idem_change({arguments})"
        ),
    }
}

/// Gives the arguments, in the order of their numbers.
fn given<'q, C: Call<'q>>(
    call: C,
    runner: &'q Runner,
    latest: Timestamp,
    in_attempt: bool,
    write: &'q Write,
) -> C {
    let call = begin_call(call, runner, latest, in_attempt)
        .value(row_id(&write.id))
        .value(write.version.cast_signed())
        .value(write.live)
        .value(write.due.map(Time))
        .value(write.waiting.map(Time))
        .value(write.owner.is_some())
        .value(write.record.as_deref());
    match write.expected {
        None => call
            .value(text(&write.id.handler).into_owned())
            .value(text(&write.id.key).into_owned()),
        Some(expected) => call.value(expected.cast_signed()),
    }
}
