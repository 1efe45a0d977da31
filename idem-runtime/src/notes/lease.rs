//! A lease in the notes: of all the replicas on one ledger, one holds it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{ExpectedNote, NoteChange, Notes};
use crate::clock::{Clock, after};
use crate::idem::Idem;
use crate::ledger::{Leases, LedgerError};

/// A lease that one process at a time holds, of all that share a ledger: for work that one replica
/// does for all of them.
///
/// Clocks are not compared. The holder renews the lease by writing a note again; a contender takes
/// it once it has not seen it renewed for `ttl` on its own clock, so clocks may differ. A contender
/// whose clock jumps forward takes a lease that is still held; the earlier holder's guarded writes
/// are refused from then on. On a ledger that one process owns, a lease of an earlier process is free
/// at once.
///
/// A holder that stalls may believe that it holds a lease that has passed on. Take a
/// [`guard`](Self::guard) before reading what the work depends on, and write with
/// [`write_if`](Notes::write_if): the write is made only if the lease has been held ever since. A
/// renewal changes no guard.
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
///     let guard = lease.guard();
///     // Make the report, and record it if the lease has not passed on meanwhile.
///     let report = vec![NoteChange::put("reports/last", "2026-11-22")];
///     assert!(idem.notes().write_if(report, vec![guard]).await?);
/// }
/// # Ok(()) }
/// ```
pub struct NoteLease {
    notes: Notes,
    clock: Arc<dyn Clock>,
    /// The note of the term, which says who holds the lease, and stays the same until it passes on.
    term_key: String,
    /// The note that each renewal changes.
    beat_key: String,
    instance: Arc<str>,
    holder: String,
    /// Whether no other process can be alive on this ledger.
    alone: bool,
    ttl: Duration,
    /// The term of another holder and its beat as last read, and when they were first read.
    seen: Option<(Vec<u8>, Option<Vec<u8>>, Timestamp)>,
    /// The term in which it is held, and when it was taken or renewed last.
    held: Option<(Vec<u8>, Timestamp)>,
    writes: u64,
}

impl Idem {
    /// Returns a contender for the lease of this name. It is not held before
    /// [`hold`](NoteLease::hold) says so. `ttl` is how long it may go without being renewed.
    pub fn note_lease(&self, name: &str, ttl: Duration) -> NoteLease {
        let shared = self.shared();
        NoteLease {
            notes: self.notes(),
            clock: Arc::clone(&shared.clock),
            term_key: format!("leases/{name}"),
            beat_key: format!("beats/{name}"),
            instance: Arc::clone(&shared.instance),
            // Two contenders of one process are two holders.
            holder: format!("{}/{:016x}", shared.instance, fastrand::u64(..)),
            alone: shared.leases == Leases::None,
            ttl,
            seen: None,
            held: None,
            writes: 0,
        }
    }
}

impl NoteLease {
    /// Takes the lease or renews it, and returns whether this contender holds it now. Call it at
    /// least every third of `ttl`: the holder to keep it, a contender to see when it lapses. It
    /// reads a note each time, and writes only when a third of `ttl` has passed since the last
    /// write.
    ///
    /// # Errors
    /// When the ledger cannot be read or written. The lease may have been taken all the same; the
    /// next call says.
    pub async fn hold(&mut self) -> Result<bool, LedgerError> {
        let now = self.clock.now();
        match self.notes.get(&self.term_key).await? {
            // One that was taken by a write whose answer was lost is this contender's too.
            Some(term) if self.is_own(&term) => self.renew(term, now).await,
            Some(term) => {
                self.held = None;
                let beat = self.notes.get(&self.beat_key).await?;
                if !self.has_lapsed(&term, beat.as_deref(), now) {
                    return Ok(false);
                }
                let term = ExpectedNote::value(&*self.term_key, term);
                let beat = match beat {
                    Some(beat) => ExpectedNote::value(&*self.beat_key, beat),
                    None => ExpectedNote::absent(&*self.beat_key),
                };
                self.take(vec![term, beat], now).await
            }
            None => {
                self.held = None;
                let absent = ExpectedNote::absent(&*self.term_key);
                self.take(vec![absent], now).await
            }
        }
    }

    /// Gives the lease up, so that another contender need not wait for it to lapse.
    ///
    /// # Errors
    /// When the ledger cannot be read or written. The lease lapses by itself.
    pub async fn release(&mut self) -> Result<(), LedgerError> {
        self.held = None;
        let term = self.notes.get(&self.term_key).await?;
        let Some(term) = term.filter(|term| self.is_own(term)) else {
            return Ok(());
        };
        let removals = vec![
            NoteChange::delete(&*self.term_key),
            NoteChange::delete(&*self.beat_key),
        ];
        let own = ExpectedNote::value(&*self.term_key, term);
        self.notes.write_if(removals, vec![own]).await.map(drop)
    }

    /// Returns what the lease's note is as long as this contender holds it without a break. A
    /// [write that expects it](Notes::write_if) is not made once the lease has passed on, even if
    /// it has come back since.
    pub fn guard(&self) -> ExpectedNote {
        let held = self.held.as_ref().map(|(term, _)| term.clone());
        // No term is empty, so no write that expects that is made.
        ExpectedNote::value(&*self.term_key, held.unwrap_or_default())
    }

    async fn take(
        &mut self,
        expected: Vec<ExpectedNote>,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        self.writes += 1;
        let term = format!("{} {}", self.holder, self.writes).into_bytes();
        let changes = vec![
            NoteChange::put(&*self.term_key, term.clone()),
            // A beat of an earlier term could be the same as the next one.
            NoteChange::delete(&*self.beat_key),
        ];
        let taken = self.notes.write_if(changes, expected).await?;
        self.held = taken.then_some((term, now));
        Ok(taken)
    }

    async fn renew(&mut self, term: Vec<u8>, now: Timestamp) -> Result<bool, LedgerError> {
        if let Some((held, since)) = &self.held
            && *held == term
            && *since <= now
            && now < after(*since, self.ttl / 3)
        {
            return Ok(true);
        }
        self.writes += 1;
        let beat = NoteChange::put(&*self.beat_key, self.writes.to_string());
        let own = ExpectedNote::value(&*self.term_key, term.clone());
        let renewed = self.notes.write_if(vec![beat], vec![own]).await?;
        self.held = renewed.then_some((term, now));
        Ok(renewed)
    }

    fn is_own(&self, term: &[u8]) -> bool {
        let rest = term.strip_prefix(self.holder.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b" "))
    }

    /// Returns whether another's lease was not renewed for as long as it lasts, or cannot be.
    fn has_lapsed(&mut self, term: &[u8], beat: Option<&[u8]>, now: Timestamp) -> bool {
        let here = term.strip_prefix(self.instance.as_bytes());
        if self.alone && !here.is_some_and(|rest| rest.starts_with(b"/")) {
            return true;
        }
        match &self.seen {
            Some((seen, seen_beat, since))
                if seen == term && seen_beat.as_deref() == beat && *since <= now =>
            {
                now >= after(*since, self.ttl)
            }
            _ => {
                self.seen = Some((term.to_vec(), beat.map(<[u8]>::to_vec), now));
                false
            }
        }
    }
}

impl std::fmt::Debug for NoteLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoteLease")
            .field("key", &self.term_key)
            .field("holder", &self.holder)
            .field("held", &self.held.is_some())
            .finish_non_exhaustive()
    }
}
