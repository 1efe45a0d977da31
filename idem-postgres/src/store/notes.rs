//! Notes.

use idem_runtime::ledger::shared::StoreError;
use idem_runtime::ledger::{ExpectedNote, Note, NoteChange};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::{PostgresStore, limit, only, unreadable};
use crate::error::{UNIQUE_VIOLATION, of_statement, said};

/// Notes from one key on, behind another, of which those with a number are settled.
const NOTES: &str = "SELECT key, value, number FROM idem.note
    WHERE key >= $1 AND ($2::bytea IS NULL OR key < $2) AND ($3::bytea IS NULL OR key > $3)
        AND (number IS NULL OR number <= $4)
    ORDER BY key LIMIT $5";

/// The last of the numbers of notes that can be read.
pub(super) const SETTLED: &str = "SELECT idem.settled_note_number()";

const RAISE: &str = "SELECT idem.raise_note_number($1)";

/// Changes notes if all of them are as expected. Those that are not to exist are added without a
/// conflict clause: if another process was first, the statement fails.
const CHANGE: &str = "WITH expected AS MATERIALIZED (
        SELECT * FROM unnest($4::bytea[], $5::bytea[]) AS expected (key, value)
    ),
    there AS MATERIALIZED (
        SELECT key, value FROM idem.note WHERE key = ANY ($4) ORDER BY key FOR UPDATE
    ),
    verdict AS MATERIALIZED (
        SELECT NOT EXISTS (
            SELECT FROM expected LEFT JOIN there USING (key)
            WHERE expected.value IS DISTINCT FROM there.value
        ) AS holds
    ),
    change AS MATERIALIZED (
        SELECT DISTINCT ON (key, CASE WHEN numbered THEN place END) key, value, numbered, place
        FROM unnest($1::bytea[], $2::bytea[], $3::boolean[])
            WITH ORDINALITY AS change (key, value, numbered, place)
        WHERE (SELECT holds FROM verdict)
        ORDER BY key, CASE WHEN numbered THEN place END, place DESC
    ),
    numbered AS MATERIALIZED (
        SELECT key, value, idem.next_note_number() AS number
        FROM (SELECT key, value FROM change WHERE numbered ORDER BY place OFFSET 0) AS change
    ),
    first AS (
        INSERT INTO idem.note (key, value)
        SELECT key, value FROM change WHERE NOT numbered AND value IS NOT NULL
            AND key IN (SELECT key FROM expected WHERE expected.value IS NULL)
        ORDER BY key
    ),
    put AS (
        INSERT INTO idem.note (key, value, number)
        SELECT key, value, NULL FROM change WHERE NOT numbered AND value IS NOT NULL
            AND NOT EXISTS (
                SELECT FROM expected WHERE expected.key = change.key AND expected.value IS NULL
            )
        UNION ALL
        SELECT key || convert_to(lpad(to_hex(number), 16, '0'), 'UTF8'), value, number FROM numbered
        ORDER BY 1
        ON CONFLICT (key) DO UPDATE SET value = excluded.value
    ),
    deleted AS (
        DELETE FROM idem.note USING change
        WHERE note.key = ANY ($1) AND note.key = change.key AND change.value IS NULL
    )
    SELECT holds FROM verdict";

impl PostgresStore {
    /// Numbered notes are read twice: then those are left out behind which smaller numbers may
    /// become readable.
    pub(super) async fn read_notes(
        &self,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<Note>, StoreError> {
        let end = end_of(prefix.as_bytes());
        let read = async |settled: i64| {
            let query = sqlx::query(self.schema.sql(NOTES))
                .bind(prefix.as_bytes())
                .bind(end.as_deref())
                .bind(after.map(str::as_bytes))
                .bind(settled)
                .bind(limit(most));
            self.reads.rows(query).await
        };
        let mut rows = read(i64::MAX).await?;
        let is_numbered = |row: &PgRow| row.try_get::<Option<i64>, _>(2).is_ok_and(|n| n.is_some());
        if rows.iter().any(is_numbered) {
            let settled = self
                .reads
                .change(sqlx::query(self.schema.sql(SETTLED)))
                .await?;
            rows = read(only(&settled)?).await?;
        }
        let notes = rows.iter().map(|row| {
            let key = row.try_get::<&[u8], _>(0).map_err(of_statement)?;
            let key = std::str::from_utf8(key).map_err(unreadable)?;
            Ok(Note {
                key: key.to_owned(),
                value: row.try_get(1).map_err(of_statement)?,
            })
        });
        notes.collect()
    }

    pub(super) async fn change_notes(
        &self,
        changes: &[NoteChange],
        expected: &[ExpectedNote],
    ) -> Result<bool, StoreError> {
        // What is copied here with its number comes before all that is written later.
        if let Some(above) = changes.iter().filter_map(NoteChange::given_number).max() {
            // Beyond that there would be no number left to give.
            let above = above.min(1 << 62).cast_signed();
            self.writes
                .rows(sqlx::query(self.schema.sql(RAISE)).bind(above))
                .await?;
        }
        let (mut keys, mut values, mut numbered) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            keys.push(change.given_key().as_bytes());
            values.push(change.value());
            numbered.push(change.asks_for_number());
        }
        let expected_keys: Vec<_> = expected.iter().map(|note| note.key.as_bytes()).collect();
        let expected_values: Vec<_> = expected.iter().map(|note| note.value.as_deref()).collect();
        let query = sqlx::query(self.schema.sql(CHANGE))
            .bind(keys)
            .bind(values)
            .bind(numbered)
            .bind(expected_keys)
            .bind(expected_values);
        match self.writes.rows(query).await {
            Ok(rows) => only(&rows),
            // One that was not to exist was written meanwhile.
            Err(error) if said(&error, UNIQUE_VIOLATION) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns the key behind all that begin with a prefix; none if there is no such key.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
