//! A ledger that fails when it is told to.

use std::fmt;
use std::future::{pending, ready};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::BoxFuture;
use crate::ledger::{
    Capabilities, ExpectedNote, Filter, Ledger, LedgerError, Note, NoteChange, Swept, Transaction,
};
use crate::protocol::{Claim, DeadLetter, DeadLetterId, Record, RecordId, Reply, Step};

/// A ledger over another one, of whose calls some fail. A clone is another handle to it.
///
/// ```
/// use idem_runtime::ledger::LedgerError;
/// use idem_runtime::protocol::Step;
/// use idem_runtime::testing::{LedgerCall, LedgerFault, ManualClock, MemoryLedger, UnreliableLedger};
/// # use std::sync::Arc;
///
/// let ledger = MemoryLedger::new(Arc::new(ManualClock::default()));
/// let never_renews = UnreliableLedger::new(ledger, |call| match call {
///     LedgerCall::Step(_, Step::Renew { .. }) => Some(LedgerFault::Silent),
///     _ => None,
/// });
/// ```
#[derive(Clone)]
pub struct UnreliableLedger {
    ledger: Arc<dyn Ledger>,
    fault: Arc<Choose>,
    /// The last number that was given to a claim without one.
    nonce: Arc<AtomicU64>,
}

type Choose = dyn Fn(&LedgerCall<'_>) -> Option<LedgerFault> + Send + Sync;

/// A call of a ledger that can fail.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum LedgerCall<'a> {
    /// [`Ledger::apply`].
    Step(&'a RecordId, &'a Step),
    /// [`Ledger::record`].
    Record(&'a RecordId),
    /// [`Ledger::letter`].
    Letter(DeadLetterId),
    /// [`Ledger::letters`].
    Letters(&'a Filter),
    /// [`Ledger::open_letters`].
    OpenLetters,
    /// [`Ledger::sweep`].
    Sweep,
    /// [`Ledger::notes`], with this prefix.
    Notes(&'a str),
    /// [`Ledger::write_notes`].
    WriteNotes(&'a [NoteChange]),
    /// [`Ledger::begin`].
    Begin,
}

/// What goes wrong with a call.
#[non_exhaustive]
pub enum LedgerFault {
    /// It is not made.
    Refused(LedgerError),
    /// It is made, and the answer is lost.
    Lost(LedgerError),
    /// It is not made, and no answer ever comes.
    Silent,
    /// It is made once this resolves, and not if the answer is no longer awaited then.
    Held(BoxFuture<'static, ()>),
    /// It is made at once, and the answer comes once this resolves.
    LateAnswer(BoxFuture<'static, ()>),
    /// It is made at once, and the answer is lost once this resolves.
    LostLater(BoxFuture<'static, ()>, LedgerError),
    /// A claim or a report is made twice, as if the first answer was lost; a claim gets a number for
    /// it. The answers must agree. Other calls go well.
    Twice,
}

impl UnreliableLedger {
    /// Returns a ledger whose calls fail as `fault` says; with `None` a call goes well.
    pub fn new(
        ledger: impl Ledger,
        fault: impl Fn(&LedgerCall<'_>) -> Option<LedgerFault> + Send + Sync + 'static,
    ) -> Self {
        Self {
            ledger: Arc::new(ledger),
            fault: Arc::new(fault),
            nonce: Arc::new(AtomicU64::new(u64::MAX / 2)),
        }
    }

    /// Makes a call, and what goes wrong with it.
    fn call<T: Send + 'static>(
        &self,
        call: &LedgerCall<'_>,
        make: impl FnOnce(&dyn Ledger) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        self.call_with((self.fault)(call), make)
    }

    fn call_with<T: Send + 'static>(
        &self,
        fault: Option<LedgerFault>,
        make: impl FnOnce(&dyn Ledger) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let Some(fault) = fault else {
            return make(&*self.ledger);
        };
        match fault {
            LedgerFault::Refused(error) => Box::pin(ready(Err(error))),
            LedgerFault::Lost(error) => {
                let answer = make(&*self.ledger);
                Box::pin(async {
                    answer.await?;
                    Err(error)
                })
            }
            LedgerFault::Silent => Box::pin(pending()),
            LedgerFault::Held(held) => {
                let ledger = Arc::clone(&self.ledger);
                Box::pin(async move {
                    held.await;
                    make(&*ledger).await
                })
            }
            LedgerFault::LateAnswer(late) => {
                let answer = make(&*self.ledger);
                Box::pin(async {
                    let answer = answer.await;
                    late.await;
                    answer
                })
            }
            LedgerFault::LostLater(late, error) => {
                let answer = make(&*self.ledger);
                Box::pin(async {
                    answer.await?;
                    late.await;
                    Err(error)
                })
            }
            LedgerFault::Twice => make(&*self.ledger),
        }
    }

    /// Makes a step twice, and compares the answers.
    fn twice(&self, id: &RecordId, mut step: Step) -> Answer<Reply> {
        match &mut step {
            Step::Claim(Claim { nonce, .. }) if *nonce == 0 => {
                *nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
            }
            Step::Claim(_)
            | Step::Renew { .. }
            | Step::Complete { .. }
            | Step::Fail(_)
            | Step::Attempt(_)
            | Step::GiveBack { .. }
            | Step::Bury(_) => {}
            _ => return self.ledger.apply(id, step),
        }
        let gives_back = matches!(step, Step::GiveBack { .. });
        let first = self.ledger.apply(id, step.clone());
        let (ledger, id) = (Arc::clone(&self.ledger), id.clone());
        Box::pin(async move {
            let first = first.await?;
            let second = ledger.apply(&id, step).await?;
            let agree = match (&first, &second) {
                (Reply::DeadLettered(written), Reply::Dead { letter, .. }) => written.id == *letter,
                // The key may be absent again.
                (Reply::Recorded, Reply::LeaseLost) => gives_back,
                (first, second) => first == second,
            };
            assert!(agree, "the second answer was {second:?}, after {first:?}");
            Ok(first)
        })
    }
}

type Answer<T> = BoxFuture<'static, Result<T, LedgerError>>;

impl fmt::Debug for LedgerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused(_) => "Refused",
            Self::Lost(_) => "Lost",
            Self::Silent => "Silent",
            Self::Held(_) => "Held",
            Self::LateAnswer(_) => "LateAnswer",
            Self::LostLater(..) => "LostLater",
            Self::Twice => "Twice",
        })
    }
}

impl Ledger for UnreliableLedger {
    fn capabilities(&self) -> Capabilities {
        self.ledger.capabilities()
    }

    fn apply(&self, id: &RecordId, step: Step) -> Answer<Reply> {
        match (self.fault)(&LedgerCall::Step(id, &step)) {
            Some(LedgerFault::Twice) => self.twice(id, step),
            fault => {
                let id = id.clone();
                self.call_with(fault, move |ledger| ledger.apply(&id, step))
            }
        }
    }

    fn look(&self, id: &RecordId, claim: &Claim) -> Option<Reply> {
        self.ledger.look(id, claim)
    }

    fn changed(&self, id: &RecordId) -> Option<BoxFuture<'static, ()>> {
        self.ledger.changed(id)
    }

    fn begin(&self) -> Answer<Box<dyn Transaction>> {
        self.call(&LedgerCall::Begin, |ledger| ledger.begin())
    }

    fn record(&self, id: &RecordId) -> Answer<Option<Record>> {
        let own = id.clone();
        self.call(&LedgerCall::Record(id), move |ledger| ledger.record(&own))
    }

    fn letter(&self, id: DeadLetterId) -> Answer<Option<DeadLetter>> {
        self.call(&LedgerCall::Letter(id), move |ledger| ledger.letter(id))
    }

    fn letters(&self, filter: &Filter) -> Answer<Vec<DeadLetter>> {
        let own = filter.clone();
        self.call(&LedgerCall::Letters(filter), move |ledger| {
            ledger.letters(&own)
        })
    }

    fn open_letters(&self) -> Answer<u64> {
        self.call(&LedgerCall::OpenLetters, |ledger| ledger.open_letters())
    }

    fn sweep(&self, settled: usize, retention: Duration) -> Answer<Swept> {
        self.call(&LedgerCall::Sweep, move |ledger| {
            ledger.sweep(settled, retention)
        })
    }

    fn notes(&self, prefix: &str, after: Option<&str>, limit: usize) -> Answer<Vec<Note>> {
        let (own, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.call(&LedgerCall::Notes(prefix), move |ledger| {
            ledger.notes(&own, after.as_deref(), limit)
        })
    }

    fn write_notes(&self, changes: Vec<NoteChange>, expected: Vec<ExpectedNote>) -> Answer<bool> {
        let fault = (self.fault)(&LedgerCall::WriteNotes(&changes));
        self.call_with(fault, |ledger| ledger.write_notes(changes, expected))
    }

    fn size(&self) -> Answer<Option<u64>> {
        self.ledger.size()
    }

    fn copy_to(&self, folder: &Path) -> Answer<()> {
        self.ledger.copy_to(folder)
    }

    fn close(&self) -> Answer<()> {
        self.ledger.close()
    }
}
