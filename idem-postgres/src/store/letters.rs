//! Letters.

use idem_runtime::ledger::Filter;
use idem_runtime::ledger::shared::StoreError;
use idem_runtime::protocol::{DeadLetter, DeadLetterId};
use jiff::Timestamp;
use sqlx::types::Uuid;
use sqlx::{Postgres, QueryBuilder, Row};

use super::write::state_name;
use super::{PostgresStore, count, limit, only, unreadable};
use crate::error::of_statement;
use crate::names::text;
use crate::time::Time;

const LETTER: &str = "SELECT letter FROM idem.letter WHERE id = $1";

const OPEN: &str = "SELECT count(*) FROM idem.letter WHERE state = 'open'";

const REMOVE: &str = "WITH gone AS (
        DELETE FROM idem.letter WHERE id = ANY (ARRAY (
            SELECT id FROM idem.letter WHERE closed_at <= $1 ORDER BY closed_at LIMIT $2
            FOR UPDATE SKIP LOCKED
        )) AND closed_at <= $1
        RETURNING id
    ),
    markers AS (
        DELETE FROM idem.note
        WHERE key = ANY (ARRAY (SELECT convert_to('untold/' || id, 'UTF8') FROM gone))
    )
    SELECT count(*) FROM gone";

impl PostgresStore {
    pub(super) async fn read_letter(
        &self,
        id: DeadLetterId,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let id = Uuid::from_bytes(*id.as_bytes());
        let rows = self
            .reads
            .rows(sqlx::query(self.schema.sql(LETTER)).bind(id))
            .await?;
        let letter = rows.first().map(|row| row.try_get::<&[u8], _>(0));
        let letter = letter.transpose().map_err(of_statement)?;
        letter
            .map(DeadLetter::decode)
            .transpose()
            .map_err(unreadable)
    }

    /// A letter that cannot be decoded keeps no other one from a listing.
    pub(super) async fn read_letters(
        &self,
        filter: &Filter,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let select = self.schema.sql("SELECT letter FROM idem.letter WHERE true");
        let mut query = QueryBuilder::<Postgres>::new(select.as_str());
        if let Some(handlers) = filter.handlers() {
            let handlers: Vec<_> = handlers.map(|name| text(name).into_owned()).collect();
            query
                .push(" AND handler = ANY (")
                .push_bind(handlers)
                .push(")");
        }
        if let Some(key) = &filter.key {
            let key = text(key).into_owned();
            query.push(" AND left(key, 200) = ").push_bind(start(&key));
            query.push(" AND key = ").push_bind(key);
        }
        if let Some(state) = filter.state {
            // Written out, so that the index of open letters is found.
            query.push(format!(" AND state = '{}'", state_name(state)));
        }
        if let Some(after) = filter.after {
            let after = Uuid::from_bytes(*after.as_bytes());
            query.push(" AND id < ").push_bind(after);
        }
        query
            .push(" ORDER BY id DESC LIMIT ")
            .push_bind(limit(filter.limit));
        let rows = self.reads.rows(query.build()).await?;
        let mut letters = Vec::with_capacity(rows.len());
        for row in &rows {
            let bytes: &[u8] = row.try_get(0).map_err(of_statement)?;
            match DeadLetter::decode(bytes) {
                Ok(letter) => letters.push(letter),
                Err(error) => tracing::error!("a dead letter cannot be read: {error}"),
            }
        }
        Ok(letters)
    }

    pub(super) async fn count_open_letters(&self) -> Result<u64, StoreError> {
        let rows = self.reads.rows(sqlx::query(self.schema.sql(OPEN))).await?;
        only(&rows).map(count)
    }

    pub(super) async fn remove_closed_letters(
        &self,
        until: Timestamp,
        most: usize,
    ) -> Result<u64, StoreError> {
        let query = sqlx::query(self.schema.sql(REMOVE))
            .bind(Time(until))
            .bind(limit(most));
        self.number(query).await.map(count)
    }
}

/// Returns what is indexed of a text.
fn start(text: &str) -> String {
    text.chars().take(200).collect()
}
