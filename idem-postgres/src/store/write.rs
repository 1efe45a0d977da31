//! The writes of a batch: one call of a function of the schema's, whose arrays are matched by the
//! numbers of the writes.

use idem_runtime::ledger::NoteChange;
use idem_runtime::ledger::shared::{
    LetterWrite, Runner, StoreError, StoreErrorKind, Write, Written,
};
use idem_runtime::protocol::{DeadLetter, LetterState};
use jiff::Timestamp;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::types::Uuid;
use sqlx::{Postgres, Row};

use super::literal::{Call, Literals};
use super::one;
use crate::error::of_statement;
use crate::names::{row_id, text};
use crate::schema::Schema;
use crate::time::Time;

/// Most batches have neither letters nor notes.
const ROWS: &str =
    "SELECT * FROM idem.write_rows($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, '{}')";

const ALL: &str = "SELECT * FROM idem.write_all($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
    $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32)";

/// Makes the statement of a batch in a runner's name, which takes place by `latest` or never.
pub(crate) fn statement<'q>(
    schema: &Schema,
    runner: &'q Runner,
    latest: Timestamp,
    writes: &'q [Write],
    in_attempt: bool,
) -> Result<Query<'q, Postgres, PgArguments>, StoreError> {
    if let [write] = writes
        && is_plain(write)
        && !in_attempt
    {
        owned(write, runner)?;
        return Ok(one::statement(schema, runner, latest, write));
    }
    let columns = Columns::of(runner, writes)?;
    let sql = if columns.has_beside() { ALL } else { ROWS };
    let query = sqlx::query(schema.sql(sql));
    Ok(columns.give(begin_call(query, runner, latest, in_attempt)))
}

/// Gives what each write says of its runner and its time, the first parameters of all of them.
pub(super) fn begin_call<'q, C: Call<'q>>(
    call: C,
    runner: &'q Runner,
    latest: Timestamp,
    in_attempt: bool,
) -> C {
    call.value(text(runner).into_owned())
        .value(Time(latest))
        .value(in_attempt)
}

/// Returns whether a write has nothing beside its row.
fn is_plain(write: &Write) -> bool {
    write.letter.is_none() && write.notes.is_empty()
}

/// Refuses a claim for another runner.
fn owned(write: &Write, runner: &Runner) -> Result<(), StoreError> {
    if write.owner.as_ref().is_none_or(|owner| owner == runner) {
        return Ok(());
    }
    let message = format!("the runner `{runner}` cannot claim for another one");
    Err(StoreError::new(StoreErrorKind::Refused, message))
}

/// Makes the statements of an attempt's last write and its commit, for one round trip: the first fails
/// if it is not made. Its row has the server's time.
pub(crate) fn last_statements(
    schema: &Schema,
    is_prepared: bool,
    runner: &Runner,
    latest: Timestamp,
    write: &Write,
) -> Result<String, StoreError> {
    if is_prepared && is_plain(write) {
        owned(write, runner)?;
        let last = one::last(runner, latest, write);
        return Ok(format!("SAVEPOINT idem_end; {last}; COMMIT"));
    }
    let columns = Columns::of(runner, std::slice::from_ref(write))?;
    let call = begin_call(Literals::default(), runner, latest, true);
    let function = if columns.has_beside() {
        "write_all"
    } else {
        "write_rows"
    };
    let (idem, not_made) = (
        schema.name(),
        if columns.has_beside() { "" } else { ", '{}'" },
    );
    let Literals(arguments) = columns.give(call);
    Ok(format!(
        "SAVEPOINT idem_end; SELECT (extract(epoch FROM now) * 1000000)::bigint, \
            CASE cardinality(versions) WHEN 0 THEN {idem}.overtaken() END \
            FROM {idem}.{function}({arguments}{not_made}); COMMIT"
    ))
}

/// What a batch writes.
#[derive(Default)]
struct Columns<'q> {
    rows: Rows<'q>,
    beside: Beside<'q>,
}

impl<'q> Columns<'q> {
    fn of(runner: &Runner, writes: &'q [Write]) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        let mut sorted: Vec<_> = writes
            .iter()
            .map(|write| (row_id(&write.id), write))
            .collect();
        // Two processes that write the same rows wait for each other in one order.
        sorted.sort_unstable_by_key(|(id, _)| *id);
        for (id, write) in sorted {
            columns.rows.add(id, write, runner)?;
            if let Some(letter) = &write.letter {
                columns.beside.add_letter(write.version, letter)?;
            }
            for note in &write.notes {
                columns.beside.notes.add(write.version, note);
            }
        }
        Ok(columns)
    }

    fn has_beside(&self) -> bool {
        !self.beside.letter_versions.is_empty() || !self.beside.notes.versions.is_empty()
    }

    /// Gives the columns to the function in the order of its parameters.
    fn give<C: Call<'q>>(self, call: C) -> C {
        let has_beside = self.has_beside();
        let call = self.rows.give(call);
        if has_beside {
            self.beside.give(call)
        } else {
            call
        }
    }
}

/// What came of a statement.
pub(crate) struct Answer {
    pub(crate) now: Timestamp,
    /// Whether it came by its latest time. Else nothing took place.
    pub(crate) in_time: bool,
    /// Whether the transaction is still the attempt's.
    pub(crate) in_attempt: bool,
    lives: bool,
    versions: Vec<u64>,
}

impl Answer {
    pub(crate) fn of(rows: &[PgRow]) -> Result<Self, StoreError> {
        let read = || {
            let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
            let versions: Vec<i64> = row.try_get("versions")?;
            Ok(Self {
                now: row.try_get::<Time, _>("now")?.0,
                in_time: row.try_get("in_time")?,
                in_attempt: row.try_get("is_attempt")?,
                lives: row.try_get("lives")?,
                versions: versions.into_iter().map(i64::cast_unsigned).collect(),
            })
        };
        read().map_err(of_statement)
    }

    /// Returns what was written.
    pub(crate) fn written(self, runner: &Runner, now: Timestamp) -> Result<Written, StoreError> {
        if !self.in_time {
            let message = "the write came too late";
            return Err(StoreError::new(StoreErrorKind::Away, message));
        }
        if !self.lives {
            return Err(runner_dead(runner));
        }
        let versions = self.versions;
        Ok(Written { versions, now })
    }
}

pub(crate) fn runner_dead(runner: &Runner) -> StoreError {
    StoreError::new(
        StoreErrorKind::RunnerDead,
        format!("the runner `{runner}` was marked dead"),
    )
}

/// The columns of the rows.
#[derive(Default)]
struct Rows<'q> {
    ids: Vec<[u8; 20]>,
    expected: Vec<Option<i64>>,
    versions: Vec<i64>,
    live: Vec<bool>,
    due: Vec<Option<Time>>,
    waiting: Vec<Option<Time>>,
    owned: Vec<bool>,
    handlers: Vec<String>,
    keys: Vec<String>,
    records: Vec<Option<&'q [u8]>>,
}

impl<'q> Rows<'q> {
    fn add(&mut self, id: [u8; 20], write: &'q Write, runner: &Runner) -> Result<(), StoreError> {
        owned(write, runner)?;
        self.ids.push(id);
        self.expected.push(write.expected.map(u64::cast_signed));
        self.versions.push(write.version.cast_signed());
        self.live.push(write.live);
        self.due.push(write.due.map(Time));
        self.waiting.push(write.waiting.map(Time));
        self.owned.push(write.owner.is_some());
        self.handlers.push(text(&write.id.handler).into_owned());
        self.keys.push(text(&write.id.key).into_owned());
        self.records.push(write.record.as_deref());
        Ok(())
    }

    fn give<C: Call<'q>>(self, call: C) -> C {
        call.column(self.ids)
            .column(self.expected)
            .column(self.versions)
            .column(self.live)
            .column(self.due)
            .column(self.waiting)
            .column(self.owned)
            .column(self.handlers)
            .column(self.keys)
            .column(self.records)
    }
}

/// The columns of the letters and notes.
#[derive(Default)]
struct Beside<'q> {
    letter_versions: Vec<i64>,
    ids: Vec<Uuid>,
    is_new: Vec<bool>,
    handlers: Vec<String>,
    keys: Vec<String>,
    states: Vec<&'static str>,
    reasons: Vec<String>,
    attempts: Vec<i32>,
    errors: Vec<Option<String>>,
    first_seen: Vec<Time>,
    died_at: Vec<Time>,
    closed_at: Vec<Option<Time>>,
    closed_why: Vec<Option<String>>,
    payloads: Vec<String>,
    letters: Vec<Vec<u8>>,
    notes: Notes<'q>,
}

impl<'q> Beside<'q> {
    fn add_letter(&mut self, version: u64, write: &LetterWrite) -> Result<(), StoreError> {
        let letter = &write.letter;
        let encoded = letter
            .encode()
            .map_err(|error| StoreError::new(StoreErrorKind::Refused, error.to_string()))?;
        let last = letter.attempts.last();
        self.letter_versions.push(version.cast_signed());
        self.ids.push(letter_id(letter));
        self.is_new.push(write.is_new);
        self.handlers.push(text(&letter.handler).into_owned());
        self.keys.push(text(&letter.key).into_owned());
        self.states.push(state_name(letter.state));
        self.reasons.push(letter.reason.to_string());
        let attempts = last.map_or(0, |attempt| attempt.number);
        self.attempts
            .push(i32::try_from(attempts).unwrap_or(i32::MAX));
        let error = last.and_then(|attempt| attempt.error.as_deref());
        self.errors
            .push(error.map(|error| text(error).into_owned()));
        self.first_seen.push(Time(letter.first_seen));
        self.died_at.push(Time(letter.died_at));
        self.closed_at.push(letter.closed_at.map(Time));
        let why = letter.closed_why.as_deref();
        self.closed_why.push(why.map(|why| text(why).into_owned()));
        // JSON has no NUL.
        self.payloads.push(letter.payload.as_str().to_owned());
        self.letters.push(encoded);
        Ok(())
    }

    fn give<C: Call<'q>>(self, call: C) -> C {
        let call = call
            .column(self.letter_versions)
            .column(self.ids)
            .column(self.is_new)
            .column(self.handlers)
            .column(self.keys)
            .column(self.states)
            .column(self.reasons)
            .column(self.attempts)
            .column(self.errors)
            .column(self.first_seen)
            .column(self.died_at)
            .column(self.closed_at)
            .column(self.closed_why)
            .column(self.payloads)
            .column(self.letters);
        call.column(self.notes.versions)
            .column(self.notes.keys)
            .column(self.notes.values)
            .column(self.notes.numbered)
    }
}

/// The columns of notes.
#[derive(Default)]
struct Notes<'q> {
    versions: Vec<i64>,
    keys: Vec<&'q [u8]>,
    values: Vec<Option<&'q [u8]>>,
    numbered: Vec<bool>,
}

impl<'q> Notes<'q> {
    fn add(&mut self, version: u64, change: &'q NoteChange) {
        self.versions.push(version.cast_signed());
        self.keys.push(change.given_key().as_bytes());
        self.values.push(change.value());
        self.numbered.push(change.asks_for_number());
    }
}

pub(crate) fn letter_id(letter: &DeadLetter) -> Uuid {
    Uuid::from_bytes(*letter.id.as_bytes())
}

pub(crate) fn state_name(state: LetterState) -> &'static str {
    match state {
        LetterState::Open => "open",
        LetterState::Redriven => "redriven",
        LetterState::Discarded => "discarded",
        // The table knows the others.
        _ => "unknown",
    }
}
