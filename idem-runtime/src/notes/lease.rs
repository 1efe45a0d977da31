//! A lease in the notes: of all the replicas on one ledger, one holds it.

use std::time::Duration;

use jiff::Timestamp;

use super::{ExpectedNote, NoteChange, Notes};
use crate::clock::{Clock, after};
use crate::idem::Idem;
use crate::ledger::LedgerError;
use std::sync::Arc;

/// A lease that one process at a time holds, of all that share a ledger: for work that one replica
/// does for all of them.
///
/// Clocks are not compared. The holder renews the lease by writing it again; a contender takes it
/// once it has not seen it renewed for `ttl` on its own clock, so a clock that runs a little faster
/// costs nothing, and one that is wrong does no harm. A holder that stalls may believe that it
/// holds a lease that has passed on: write what depends on it with [`write_if`](Notes::write_if) and
/// [`guard`](Self::guard).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let idem = idem_runtime::testing::temporary()?;
/// use std::time::Duration;
/// use idem_runtime::notes::NoteChange;
///
/// let mut lease = idem.note_lease("reports", Duration::from_secs(30));
/// if lease.hold().await? {
///     // Make the report, and record it if the lease has not passed on meanwhile.
///     let report = vec![NoteChange::put("reports/last", "2026-11-22")];
///     assert!(idem.notes().write_if(report, vec![lease.guard()]).await?);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct NoteLease {
    notes: Notes,
    clock: Arc<dyn Clock>,
    key: String,
    holder: String,
    ttl: Duration,
    /// What was last read under the key, and when it was first read.
    seen: Option<(Vec<u8>, Timestamp)>,
    /// The value it was last held with, and when that was written.
    held: Option<(Vec<u8>, Timestamp)>,
    renewals: u64,
}

impl Idem {
    /// Returns a contender for the lease of this name. It is not held before
    /// [`hold`](NoteLease::hold) says so. `ttl` is how long it may go without being renewed.
    pub fn note_lease(&self, name: &str, ttl: Duration) -> NoteLease {
        let shared = self.shared();
        NoteLease {
            notes: self.notes(),
            clock: Arc::clone(&shared.clock),
            key: format!("leases/{name}"),
            // Two contenders of one process are two holders.
            holder: format!("{}/{:08x}", shared.instance, fastrand::u32(..)),
            ttl,
            seen: None,
            held: None,
            renewals: 0,
        }
    }
}

impl NoteLease {
    /// Takes the lease or renews it, and returns whether this contender holds it now. Call it at
    /// least every third of `ttl`: the holder to keep it, a contender to see when it lapses. It
    /// writes only when a third of `ttl` has passed since the last write.
    ///
    /// # Errors
    /// When the ledger cannot be read or written. The lease may have been taken all the same; the
    /// next call says.
    pub async fn hold(&mut self) -> Result<bool, LedgerError> {
        let now = self.clock.now();
        if let Some((_, since)) = &self.held
            && *since <= now
            && now < after(*since, self.ttl / 3)
        {
            return Ok(true);
        }
        let found = self.notes.get(&self.key).await?;
        let expected = match found {
            None => ExpectedNote::absent(&*self.key),
            Some(value) => {
                if !self.may_take(&value, now) {
                    self.held = None;
                    return Ok(false);
                }
                ExpectedNote::value(&*self.key, value)
            }
        };
        self.renewals += 1;
        let value = format!("{} {}", self.holder, self.renewals).into_bytes();
        let change = NoteChange::put(&*self.key, value.clone());
        let taken = self.notes.write_if(vec![change], vec![expected]).await?;
        self.held = taken.then_some((value, now));
        Ok(taken)
    }

    /// Gives the lease up, so that another contender need not wait for it to lapse.
    ///
    /// # Errors
    /// When the ledger cannot be written. The lease lapses by itself.
    pub async fn release(&mut self) -> Result<(), LedgerError> {
        let Some((value, _)) = self.held.take() else {
            return Ok(());
        };
        let expected = ExpectedNote::value(&*self.key, value);
        let removal = NoteChange::delete(&*self.key);
        self.notes
            .write_if(vec![removal], vec![expected])
            .await
            .map(drop)
    }

    /// Returns what the lease's note is while this contender holds it. A [write that expects
    /// it](Notes::write_if) is not made once the lease has passed on.
    pub fn guard(&self) -> ExpectedNote {
        let held = self.held.as_ref().map(|(value, _)| value.clone());
        // No holder writes an empty value.
        ExpectedNote::value(&*self.key, held.unwrap_or_default())
    }

    /// Returns whether the lease is this contender's, or was not renewed for as long as it lasts.
    fn may_take(&mut self, value: &[u8], now: Timestamp) -> bool {
        // A write whose answer was lost is this contender's all the same.
        let holder = value.strip_prefix(self.holder.as_bytes());
        if holder.is_some_and(|rest| rest.starts_with(b" ")) {
            return true;
        }
        match &self.seen {
            Some((seen, since)) if seen == value && *since <= now => now >= after(*since, self.ttl),
            _ => {
                self.seen = Some((value.to_vec(), now));
                false
            }
        }
    }
}

impl std::fmt::Debug for NoteLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoteLease")
            .field("key", &self.key)
            .field("holder", &self.holder)
            .field("held", &self.held.is_some())
            .finish_non_exhaustive()
    }
}
