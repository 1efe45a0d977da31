//! Reading all records, for tools that copy a ledger that no process uses.

use idem_runtime::ledger::LedgerError;
use idem_runtime::ledger::shared::StoreError;
use idem_runtime::protocol::{Record, RecordId};
use redis::{cmd, from_redis_value};

use super::{PAGE, RedisStore};
use crate::error::unreadable;
use crate::row::{decode, id};

/// Some of the records, each an error of its own if it cannot be decoded.
#[derive(Debug)]
pub struct Page {
    /// The records, in no order.
    pub records: Vec<Result<(RecordId, Record), LedgerError>>,
    /// Where the next page begins; `None` behind the last one.
    pub next: Option<u64>,
}

impl RedisStore {
    /// Returns a page of the records: `from` is 0, or the [`next`](Page::next) of the page before. While
    /// no process uses the ledger, the pages have all of them; one may come twice ([`SCAN`][scan]).
    ///
    /// # Errors
    /// When they cannot be read.
    ///
    /// [scan]: https://redis.io/docs/latest/commands/scan/
    pub async fn records(&self, from: u64) -> Result<Page, StoreError> {
        let mut asking = cmd("SCAN");
        let keys = format!("{}r:*", literally(self.server.tag()));
        asking
            .arg(from)
            .arg("MATCH")
            .arg(keys)
            .arg("COUNT")
            .arg(PAGE);
        let (next, keys): (u64, Vec<Vec<u8>>) =
            from_redis_value(self.reads.ask(&asking).await?).map_err(unreadable)?;
        let rows: Vec<Option<Vec<u8>>> = match keys[..] {
            [] => Vec::new(),
            _ => {
                let mut asking = cmd("MGET");
                asking.arg(&keys);
                from_redis_value(self.reads.ask(&asking).await?).map_err(unreadable)?
            }
        };
        let records = rows.into_iter().flatten().filter_map(|row| {
            // One without a record stays for a while after its record was removed.
            let decoded = decode(&row, None).map(|decoded| id(&row).zip(decoded.record));
            decoded.transpose()
        });
        Ok(Page {
            records: records.collect(),
            next: (next > 0).then_some(next),
        })
    }
}

/// Returns a pattern that only this text matches.
fn literally(text: &str) -> String {
    let mut pattern = String::new();
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}
