//! Reading all records, for tools that copy a ledger that no process uses.

use idem_runtime::ledger::LedgerError;
use idem_runtime::ledger::shared::StoreError;
use idem_runtime::protocol::{Record, RecordId};
use sqlx::Row as _;

use super::notes::SETTLED;
use super::{PostgresStore, limit, only};
use crate::error::of_statement;
use crate::names::from_text;

/// How many records are read at once. Each may be large.
const PAGE: usize = 200;

const RECORDS: &str = "SELECT id, handler, key, record FROM idem.record
    WHERE record IS NOT NULL AND ($1::bytea IS NULL OR id > $1) ORDER BY id LIMIT $2";

const LAST_NUMBER: &str = "SELECT last FROM idem.number";

/// Some of the records, each an error of its own if it cannot be decoded.
#[derive(Debug)]
pub struct Page {
    /// The records, in no order.
    pub records: Vec<Result<(RecordId, Record), LedgerError>>,
    /// Where the next page begins; `None` behind the last one.
    pub next: Option<Vec<u8>>,
}

impl PostgresStore {
    /// Returns a page of the records: `from` is `None`, or the [`next`](Page::next) of the page before. While
    /// no process uses the ledger, the pages have each of them once.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn records(&self, from: Option<&[u8]>) -> Result<Page, StoreError> {
        let query = sqlx::query(self.schema.sql(RECORDS));
        let rows = self.reads.rows(query.bind(from).bind(limit(PAGE))).await?;
        let mut page = Page {
            records: Vec::with_capacity(rows.len()),
            next: None,
        };
        for row in &rows {
            let read = |row: &sqlx::postgres::PgRow| {
                let (handler, key): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
                let id = RecordId::new(&*from_text(handler), &*from_text(key));
                Ok((id, Record::decode(row.try_get(3)?)))
            };
            let (id, record) = read(row).map_err(of_statement)?;
            page.records.push(record.map(|record| (id, record)));
        }
        if let Some(last) = rows.last().filter(|_| rows.len() == PAGE) {
            page.next = Some(last.try_get(0).map_err(of_statement)?);
        }
        Ok(page)
    }

    /// Returns the last number that the ledger gave out: as a fencing token or a note's number.
    ///
    /// # Errors
    /// When it cannot be read. The role needs the rights of a service.
    pub async fn last_number(&self) -> Result<u64, StoreError> {
        let tokens = self
            .reads
            .rows(sqlx::query(self.schema.sql(LAST_NUMBER)))
            .await?;
        let notes = self
            .reads
            .change(sqlx::query(self.schema.sql(SETTLED)))
            .await?;
        let last = only::<i64>(&tokens)?.max(only::<i64>(&notes)?);
        Ok(last.cast_unsigned())
    }
}
