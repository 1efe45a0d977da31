//! The transaction that an attempt carries: what the body writes in it and the result are one
//! commit, or neither happens.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedMappedMutexGuard, OwnedMutexGuard};

use super::attempt::Frame;
use super::cut;
use crate::error::Error;
use crate::idem::shared::Shared;
use crate::ledger::{Begun, CommitError, LedgerError, LedgerErrorKind, Transaction};
use crate::protocol::{AttemptOutcome, Failed, Record, RecordId, Reply, Settled, Settlement, Step};

/// The transaction of the attempt that this code runs in, held until it is dropped.
///
/// It is of the type of the ledger's own transactions, through which the body writes.
pub struct AttemptTransaction<T: 'static>(OwnedMappedMutexGuard<Slot, T>);

/// Returns the transaction of the running attempt, which is begun with the first call. For ledgers,
/// whose own functions give it to handlers as the type `T`.
///
/// It is committed with the attempt's result once the body returns `Ok`. An error, a panic, a
/// timeout and a lost lease roll it back. The body must have dropped the returned value by then.
///
/// # Errors
/// [`Error::OutsideHandler`] where no attempt is running, as in a task that the body spawned;
/// [`Error::Ledger`] when the ledger has no transactions, none of this type, or cannot begin one.
pub async fn transaction<T: Send + 'static>() -> Result<AttemptTransaction<T>, Error> {
    let frame = Frame::current().ok_or(Error::OutsideHandler)?;
    let attempt = frame.attempt().ok_or(Error::OutsideHandler)?;
    let slot = Arc::clone(frame.carried.0.lock().get_or_insert_default());
    let mut slot = slot.lock_owned().await;
    let ledger_error = |source| Error::Ledger {
        handler: Some(attempt.handler.to_string()),
        key: Some(attempt.key.to_string()),
        source,
    };
    *slot = match mem::take(&mut *slot) {
        Slot::Begun(transaction) => Slot::Open(transaction),
        Slot::NotBegun => Slot::Open(frame.shared.ledger.begin().await.map_err(ledger_error)?),
        other => other,
    };
    OwnedMutexGuard::try_map(slot, |slot| match slot {
        Slot::Open(transaction) => transaction.as_any_mut().downcast_mut(),
        Slot::NotBegun | Slot::Begun(_) | Slot::Ended => None,
    })
    .map(AttemptTransaction)
    .map_err(|_| ledger_error(LedgerError::Unsupported("transactions of this type")))
}

/// What an attempt carries.
#[derive(Default)]
pub(super) struct Carried(Mutex<Option<Arc<tokio::sync::Mutex<Slot>>>>);

#[derive(Default)]
enum Slot {
    #[default]
    NotBegun,
    /// It was begun before the body started, which has not asked for it.
    Begun(Box<dyn Transaction>),
    Open(Box<dyn Transaction>),
    Ended,
}

/// What the attempt carried when its body ended.
pub(super) enum CarriedEnd {
    /// There is no transaction.
    Nothing,
    Open(Box<dyn Transaction>),
    /// A task of the body still uses it, so that it cannot be committed.
    StillUsed,
}

impl Carried {
    /// Returns what an attempt carries whose transaction may have been begun for it.
    pub(super) fn with(begun: Begun) -> Self {
        let slot = |begun| Arc::new(tokio::sync::Mutex::new(Slot::Begun(begun)));
        Self(Mutex::new(begun.map(slot)))
    }

    /// Rolls back what the body has not asked for: it waits for something else, and others may need
    /// the connection meanwhile.
    pub(super) fn drop_unasked(&self) {
        if let Some(slot) = &*self.0.lock()
            && let Ok(mut slot) = slot.try_lock()
            && let Slot::Begun(_) = *slot
        {
            *slot = Slot::NotBegun;
        }
    }

    /// Ends the body's use of the transaction.
    pub(super) fn end(&self) -> CarriedEnd {
        let Some(slot) = self.0.lock().take() else {
            return CarriedEnd::Nothing;
        };
        let Ok(mut slot) = slot.try_lock() else {
            return CarriedEnd::StillUsed;
        };
        match mem::replace(&mut *slot, Slot::Ended) {
            Slot::Open(transaction) => CarriedEnd::Open(transaction),
            Slot::NotBegun | Slot::Begun(_) | Slot::Ended => CarriedEnd::Nothing,
        }
    }
}

/// Commits an attempt's transaction with its result, or records the attempt as failed if it is not
/// committed.
///
/// `unknown` is the failure of an attempt whose commit is not known to have taken place, and `whole`
/// makes it the report that it has to be. If the answer is an error, only this failure may be
/// brought again, never the result: if the commit took place, the ledger refuses the failure. `away`
/// is set where the ledger was away. Such an attempt is not charged.
pub(super) async fn commit(
    shared: Arc<Shared>,
    id: RecordId,
    transaction: Box<dyn Transaction>,
    complete: Step,
    unknown: Failed,
    whole: impl Fn(Step) -> Step,
    away: Option<Arc<AtomicBool>>,
) -> Result<Reply, LedgerError> {
    let error = match transaction.finish(&id, complete).await {
        Ok(reply) => return Ok(reply),
        Err(CommitError::NotCommitted(error)) => error,
        Err(CommitError::Unknown(error)) => {
            if is_done(&shared, &id, unknown.token).await? {
                return Ok(Reply::Recorded);
            }
            error
        }
    };
    shared.log.not_committed(&id, &error);
    let token = unknown.token;
    let is_outage = error.kind() == LedgerErrorKind::Unavailable;
    if let Some(away) = &away {
        away.store(is_outage, Ordering::Release);
    }
    let failed = Failed {
        outcome: if is_outage {
            AttemptOutcome::Outage
        } else {
            AttemptOutcome::NotCommitted
        },
        error: Some(cut(format!("{error:#}"))),
        ..unknown
    };
    match shared.ledger.apply(&id, whole(Step::Fail(failed))).await? {
        // The commit may have taken place a moment ago.
        Reply::LeaseLost if is_done(&shared, &id, token).await? => Ok(Reply::Recorded),
        reply => Ok(reply),
    }
}

/// Returns whether the record has the result of the claim with this token.
async fn is_done(shared: &Shared, id: &RecordId, token: u64) -> Result<bool, LedgerError> {
    Ok(matches!(
        shared.ledger.record(id).await?,
        Some(Record::Settled(Settled {
            token: by,
            end: Settlement::Done(_),
            ..
        })) if by == token
    ))
}

impl<T> Deref for AttemptTransaction<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for AttemptTransaction<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> fmt::Debug for AttemptTransaction<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptTransaction").finish_non_exhaustive()
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}
