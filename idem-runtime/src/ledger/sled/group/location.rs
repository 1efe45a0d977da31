//! The location of a record, and its moves from one to another.

use std::time::Duration;

use jiff::Timestamp;

use super::Group;
use crate::ledger::LedgerError;
use crate::ledger::sled::filters::Found;
use crate::ledger::sled::layout::{DEAD, LIVE, RecordKey};
use crate::protocol::{Live, Record, Settled, Settlement};

/// The location of a record.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger::sled) enum Location {
    Nowhere,
    /// In the journal, under its token.
    Journal(u64),
    /// Under a key of its own, of this kind.
    Own(u8),
    Bucket(u32),
}

impl Group<'_, '_> {
    /// Reads a record that this group has not changed.
    pub(in crate::ledger::sled) fn load(
        &self,
        record_key: &RecordKey,
    ) -> Result<(Option<Record>, Location), LedgerError> {
        if let Some(claim) = self.running.read().get(record_key) {
            let live = claim.live.clone();
            let token = live.token;
            return Ok((Some(Record::Live(live)), Location::Journal(token)));
        }
        let counts = self.state.meta.counts;
        if counts.live > 0
            && let Some(live) = self.store.get::<Live>(&record_key.in_kind(LIVE))?
        {
            return Ok((Some(Record::Live(live)), Location::Own(LIVE)));
        }
        if counts.dead > 0
            && let Some(dead) = self.store.get::<Settled>(&record_key.in_kind(DEAD))?
        {
            return Ok((Some(Record::Settled(dead)), Location::Own(DEAD)));
        }
        Ok(match self.index.find_surely(self.store, record_key)? {
            Some(Found { settled, bucket }) => {
                (Some(Record::Settled(settled)), Location::Bucket(bucket))
            }
            None => (None, Location::Nowhere),
        })
    }

    /// Moves a record to its new location.
    pub(in crate::ledger::sled) fn replace(
        &mut self,
        record_key: RecordKey,
        from: Location,
        record: Option<Record>,
    ) -> Result<(), LedgerError> {
        let meta = &mut self.state.meta;
        // No token is given out twice: the larger one tells which of two results of a key is the
        // later one.
        let token = match &record {
            None => 0,
            Some(Record::Live(live)) => live.token,
            Some(Record::Settled(settled)) => settled.token,
        };
        meta.number = meta.number.max(token);
        let to = match &record {
            None => Location::Nowhere,
            Some(Record::Live(live)) => {
                // A record under a key of its own stays there.
                if !matches!(from, Location::Own(LIVE)) && self.draft.takes(&record_key, live)? {
                    Location::Journal(live.token)
                } else {
                    self.batch.put(record_key.in_kind(LIVE), live, meta)?;
                    Location::Own(LIVE)
                }
            }
            Some(Record::Settled(dead)) if matches!(dead.end, Settlement::Dead(_)) => {
                self.batch.put(record_key.in_kind(DEAD), dead, meta)?;
                Location::Own(DEAD)
            }
            Some(Record::Settled(settled)) => {
                Location::Bucket(self.bucket_writer().settle(&record_key, settled)?)
            }
        };
        match from {
            Location::Journal(token) if !matches!(to, Location::Journal(now) if now == token) => {
                self.draft.end(record_key.clone(), token);
            }
            Location::Own(kind) if !matches!(to, Location::Own(now) if now == kind) => {
                self.batch
                    .remove(&record_key.in_kind(kind), &mut self.state.meta)?;
            }
            Location::Bucket(bucket) if !matches!(to, Location::Bucket(_)) => {
                self.lapse(&record_key, bucket)?;
            }
            _ => {}
        }
        self.changed.insert(record_key, (record, to));
        Ok(())
    }

    /// Lets a record in a bucket expire at once. It is not removed: a bucket is removed as a whole.
    fn lapse(&mut self, record_key: &RecordKey, bucket: u32) -> Result<(), LedgerError> {
        let key = record_key.in_bucket(bucket);
        if let Some(settled) = self
            .batch
            .get::<Settled>(&key)?
            .filter(|settled| !settled.expired(self.now))
        {
            let over = Settled {
                at: Timestamp::UNIX_EPOCH,
                ttl: Duration::ZERO,
                ..settled
            };
            self.batch.put(key, &over, &mut self.state.meta)?;
        }
        Ok(())
    }
}
