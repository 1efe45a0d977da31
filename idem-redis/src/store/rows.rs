//! Rows of records and their runners: reading, numbers, leases, and what is due.

use std::sync::atomic::Ordering;
use std::time::Duration;

use idem_runtime::ledger::Waiting;
use idem_runtime::ledger::shared::{Rows, Runner, StoreError};
use idem_runtime::protocol::RecordId;
use jiff::Timestamp;

use super::{PAGE, RedisStore};
use crate::error::unreadable;
use crate::row::{decode, id, row_id};
use crate::script::Script;
use crate::time::{micros, time};

/// The longest lease, in microseconds: some thirty years.
const LONGEST: u64 = 1_000_000_000_000_000;

impl RedisStore {
    pub(super) async fn read_rows(&self, ids: &[RecordId]) -> Result<Rows, StoreError> {
        let answer = self
            .ask(Script::Read, |command| {
                for id in ids {
                    command.arg(&row_id(id)[..]);
                }
            })
            .await?;
        let now = answer.now;
        let found: Vec<(Vec<u8>, String)> = answer.value()?;
        let rows = found.iter().map(|(row, lease)| {
            if row.is_empty() {
                return Ok(None);
            }
            decode(row, lease.parse().ok().map(time)).map(Some)
        });
        let rows = rows.collect();
        Ok(Rows { rows, now })
    }

    pub(super) async fn reserve_numbers(&self, count: u64) -> Result<u64, StoreError> {
        let answer = self.change(Script::Reserve, |command| {
            command.arg(count);
        });
        let last = answer.await?.number()?;
        self.server.reserved(last);
        Ok(last.saturating_sub(count) + 1)
    }

    pub(super) async fn beat_runner(
        &self,
        runner: &Runner,
        lease: Duration,
    ) -> Result<Timestamp, StoreError> {
        let lease = u64::try_from(lease.as_micros()).unwrap_or(LONGEST);
        let beating = self.server.call(&self.keeper, Script::Beat, |command| {
            command.arg(&**runner).arg(lease.min(LONGEST));
        });
        Ok(beating.await?.now)
    }

    pub(super) async fn retire_runner(
        &self,
        runner: &Runner,
        until: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let until = until.map(|until| micros(until).to_string());
        let answer = self.change(Script::Retire, |command| {
            command
                .arg(&**runner)
                .arg(until.as_deref().unwrap_or_default());
        });
        Ok(answer.await?.number()? == 1)
    }

    pub(super) async fn waiting_rows(&self) -> Result<Waiting, StoreError> {
        let (count, oldest): (u64, String) = self.ask(Script::Waiting, |_| {}).await?.value()?;
        // The server writes a score of this size in digits alone.
        let oldest = oldest.parse().ok().map(time);
        Ok(Waiting::new(count, oldest))
    }

    /// Pages follow one another, so that rows that cannot be decoded do not keep others from their turn.
    pub(super) async fn due_rows(&self, most: usize) -> Result<Vec<RecordId>, StoreError> {
        let (most, behind) = (most.min(PAGE), self.page.load(Ordering::Relaxed));
        let answer = self.ask(Script::Due, |command| {
            command.arg(most).arg(behind);
        });
        let answer: Vec<Vec<u8>> = answer.await?.value()?;
        let (timely, rows) = answer
            .split_first()
            .ok_or_else(|| unreadable("it is empty"))?;
        let is_full = timely == most.to_string().as_bytes();
        let next = if is_full { behind + most } else { 0 };
        self.page.store(next, Ordering::Relaxed);
        let ids = rows.iter().map(|row| id(row));
        let read: Option<Vec<_>> = ids.collect();
        read.ok_or_else(|| unreadable("a row that something else wrote"))
    }
}
