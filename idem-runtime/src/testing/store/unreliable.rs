//! A store whose network is bad.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::clock::{Clock, until};
use crate::ledger::shared::{
    LATEST, Rows, Runner, Store, StoreError, StoreErrorKind, StoreTransaction, Write, Written,
};
use crate::ledger::{ExpectedNote, Filter, Note, NoteChange};
use crate::protocol::{DeadLetter, DeadLetterId, RecordId};
use crate::testing::ManualClock;

/// A call of a store that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreCall {
    /// [`Store::read`].
    Read,
    /// [`Store::write`].
    Write,
    /// [`Store::reserve`].
    Reserve,
    /// [`Store::beat`].
    Beat,
    /// [`Store::retire`].
    Retire,
    /// [`Store::due`].
    Due,
    /// The reads of letters and notes.
    List,
    /// [`Store::remove_letters`].
    RemoveLetters,
    /// [`Store::write_notes`].
    WriteNotes,
    /// [`Store::begin`].
    Begin,
    /// [`StoreTransaction::write`].
    TransactionWrite,
    /// [`StoreTransaction::commit`].
    Commit,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreFault {
    /// The server is away: nothing takes place.
    Away,
    /// It takes place, and the answer is lost.
    Lost,
    /// It does not take place, and the answer is lost.
    LostRequest,
    /// It takes place at once, and the answer comes later, by the clock.
    LateAnswer(Duration),
    /// The answer is lost at once. It takes place later, by the clock; never later than
    /// [`LATEST`].
    LateRequest(Duration),
    /// It does not take place, and no answer ever comes.
    Silent,
    /// It is refused: nothing takes place.
    Refused,
    /// It takes place, and the answer is that of another batch. An answer of another kind is lost.
    OtherAnswer,
}

/// A store whose network is bad: as it is told to, or at random. A clone is another handle to the
/// same connection.
#[derive(Clone)]
pub struct UnreliableStore<S> {
    store: Arc<S>,
    network: Arc<Network>,
}

struct Network {
    clock: ManualClock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The faults of the next calls; `None` for a call that goes well.
    next: HashMap<StoreCall, VecDeque<Option<StoreFault>>, RandomState>,
    /// The faults of all calls.
    always: HashMap<StoreCall, StoreFault, RandomState>,
    /// The rows whose writes are refused.
    bad: Vec<RecordId>,
    random: Option<Random>,
    /// The steps in which time still passes.
    steps: u32,
}

struct Random {
    numbers: fastrand::Rng,
    /// The faults in a row, which end before the caller's patience does.
    in_a_row: HashMap<StoreCall, u32, RandomState>,
}

/// The most faults of one call in a row.
const MOST: u32 = 3;
/// A step in which time passes while a caller waits to try again.
const STEP: Duration = Duration::from_millis(5);
/// So many steps follow a fault, which is longer than a caller waits.
const STEPS: u32 = 400;

impl<S: Store> UnreliableStore<S> {
    /// Returns a store that fails when it is told to.
    pub fn new(store: S, clock: ManualClock) -> Self {
        Self::on(store, clock, None)
    }

    /// Returns a store of whose calls a quarter fail, never more than three of one kind in a row.
    /// Time passes for a while after each fault. A [write of notes](Store::write_notes)
    /// only ever finds it away, because its callers hear of a lost answer.
    pub fn at_random(store: S, clock: ManualClock, seed: u64) -> Self {
        let random = Random {
            numbers: fastrand::Rng::with_seed(seed),
            in_a_row: HashMap::default(),
        };
        Self::on(store, clock, Some(random))
    }

    fn on(store: S, clock: ManualClock, random: Option<Random>) -> Self {
        let state = Mutex::new(State {
            random,
            ..State::default()
        });
        Self {
            store: Arc::new(store),
            network: Arc::new(Network { clock, state }),
        }
    }

    /// Lets the next call fail; after earlier ones that were named for it, the one behind them.
    pub fn next(&self, call: StoreCall, fault: StoreFault) {
        self.push(call, Some(fault));
    }

    /// Lets the next call go well, to name a later one.
    pub fn next_well(&self, call: StoreCall) {
        self.push(call, None);
    }

    fn push(&self, call: StoreCall, fault: Option<StoreFault>) {
        let mut state = self.network.state.lock();
        state.next.entry(call).or_default().push_back(fault);
    }

    /// Lets every call fail until it is [mended](Self::mend).
    pub fn always(&self, call: StoreCall, fault: StoreFault) {
        self.network.state.lock().always.insert(call, fault);
    }

    /// Refuses every batch with a write of this row until it is [mended](Self::mend).
    pub fn refuse(&self, row: RecordId) {
        self.network.state.lock().bad.push(row);
    }

    /// Lets every call go well from now on.
    pub fn mend(&self) {
        let mut state = self.network.state.lock();
        *state = State {
            steps: state.steps,
            ..State::default()
        };
    }

    async fn call<T: Send + 'static>(
        &self,
        call: StoreCall,
        request: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.network.carry(call, request, |_| None).await
    }

    /// A read needs no care: the answer of one that was lost is like none.
    fn store(&self) -> Arc<S> {
        Arc::clone(&self.store)
    }
}

impl Network {
    /// Carries a request and its answer. `other` makes the answer of another request of its answer.
    async fn carry<T: Send + 'static>(
        self: &Arc<Self>,
        call: StoreCall,
        request: impl Future<Output = Result<T, StoreError>> + Send + 'static,
        other: impl FnOnce(&T) -> Option<T>,
    ) -> Result<T, StoreError> {
        let Some(fault) = self.fault(call) else {
            return request.await;
        };
        let lost = Err(StoreError::new(StoreErrorKind::Lost, "the answer was lost"));
        match fault {
            StoreFault::Away => Err(StoreError::new(StoreErrorKind::Away, "it is away")),
            StoreFault::Lost => {
                // What the store itself says takes nothing place is no answer either.
                let _ = request.await;
                lost
            }
            StoreFault::LostRequest => lost,
            StoreFault::LateAnswer(by) => {
                let answer = request.await;
                self.clock.sleep(by).await;
                answer
            }
            StoreFault::LateRequest(by) => {
                let (clock, asked) = (self.clock.clone(), self.clock.now());
                let later = clock.sleep(by);
                tokio::spawn(async move {
                    later.await;
                    // The clock may have jumped.
                    if until(clock.now(), asked) <= LATEST {
                        let _ = request.await;
                    }
                });
                lost
            }
            StoreFault::Silent => pending().await,
            StoreFault::Refused => Err(refused()),
            StoreFault::OtherAnswer => match request.await {
                Ok(answer) => other(&answer).map_or(lost, Ok),
                Err(_) => lost,
            },
        }
    }

    /// Returns what goes wrong with this call.
    fn fault(self: &Arc<Self>, call: StoreCall) -> Option<StoreFault> {
        let mut state = self.state.lock();
        if let Some(next) = state.next.get_mut(&call).and_then(VecDeque::pop_front) {
            return next;
        }
        if let Some(always) = state.always.get(&call) {
            return Some(*always);
        }
        let fault = state.random.as_mut()?.fault(call)?;
        if std::mem::replace(&mut state.steps, STEPS) == 0 {
            tokio::spawn(Arc::clone(self).let_time_pass());
        }
        Some(fault)
    }

    /// Lets time pass for a while after a fault: its caller may wait before it asks again.
    async fn let_time_pass(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.clock.advance(STEP);
            let steps = &mut self.state.lock().steps;
            *steps = steps.saturating_sub(1);
            if *steps == 0 {
                break;
            }
        }
    }
}

impl Random {
    fn fault(&mut self, call: StoreCall) -> Option<StoreFault> {
        let in_a_row = self.in_a_row.entry(call).or_default();
        if *in_a_row == MOST || self.numbers.u32(..4) > 0 {
            *in_a_row = 0;
            return None;
        }
        *in_a_row += 1;
        let later = Duration::from_millis(self.numbers.u64(1..2_000));
        let kinds = if call == StoreCall::WriteNotes { 1 } else { 5 };
        Some(match self.numbers.u32(..kinds) {
            0 => StoreFault::Away,
            1 => StoreFault::Lost,
            2 => StoreFault::LostRequest,
            3 => StoreFault::LateRequest(later),
            _ => StoreFault::OtherAnswer,
        })
    }
}

impl<S: Store> Store for UnreliableStore<S> {
    type Transaction = UnreliableTransaction<S::Transaction>;

    async fn read(&self, ids: Vec<RecordId>) -> Result<Rows, StoreError> {
        let store = self.store();
        self.call(StoreCall::Read, async move { store.read(ids).await })
            .await
    }

    async fn write(&self, runner: &Runner, writes: Vec<Write>) -> Result<Written, StoreError> {
        let is_bad = {
            let state = self.network.state.lock();
            writes.iter().any(|write| state.bad.contains(&write.id))
        };
        if is_bad {
            return Err(refused());
        }
        let (store, runner) = (self.store(), Runner::clone(runner));
        let request = async move { store.write(&runner, writes).await };
        let other = |written: &Written| {
            let versions = written.versions.iter().map(|version| u64::MAX - version);
            Some(Written {
                versions: versions.collect(),
                now: written.now,
            })
        };
        self.network.carry(StoreCall::Write, request, other).await
    }

    async fn reserve(&self, count: u64) -> Result<u64, StoreError> {
        let store = self.store();
        let request = async move { store.reserve(count).await };
        self.call(StoreCall::Reserve, request).await
    }

    async fn beat(&self, runner: &Runner, lease: Duration) -> Result<Timestamp, StoreError> {
        let (store, runner) = (self.store(), Runner::clone(runner));
        let request = async move { store.beat(&runner, lease).await };
        self.call(StoreCall::Beat, request).await
    }

    async fn retire(&self, runner: &Runner, until: Option<Timestamp>) -> Result<bool, StoreError> {
        let (store, runner) = (self.store(), Runner::clone(runner));
        let request = async move { store.retire(&runner, until).await };
        self.call(StoreCall::Retire, request).await
    }

    async fn due(&self, limit: usize, live: bool) -> Result<Vec<RecordId>, StoreError> {
        let store = self.store();
        let request = async move { store.due(limit, live).await };
        self.call(StoreCall::Due, request).await
    }

    async fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        let store = self.store();
        self.call(StoreCall::List, async move { store.letter(id).await })
            .await
    }

    async fn letters(&self, filter: Filter) -> Result<Vec<DeadLetter>, StoreError> {
        let store = self.store();
        self.call(StoreCall::List, async move { store.letters(filter).await })
            .await
    }

    async fn open_letters(&self) -> Result<u64, StoreError> {
        let store = self.store();
        self.call(StoreCall::List, async move { store.open_letters().await })
            .await
    }

    async fn remove_letters(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let store = self.store();
        let request = async move { store.remove_letters(before, limit).await };
        self.call(StoreCall::RemoveLetters, request).await
    }

    async fn notes(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<Note>, StoreError> {
        let store = self.store();
        let request = async move { store.notes(prefix, after, limit).await };
        self.call(StoreCall::List, request).await
    }

    async fn write_notes(
        &self,
        changes: Vec<NoteChange>,
        expected: Vec<ExpectedNote>,
    ) -> Result<bool, StoreError> {
        let store = self.store();
        let request = async move { store.write_notes(changes, expected).await };
        self.call(StoreCall::WriteNotes, request).await
    }

    async fn changed(&self) -> Vec<RecordId> {
        self.store.changed().await
    }

    fn has_transactions(&self) -> bool {
        self.store.has_transactions()
    }

    async fn begin(&self) -> Result<Self::Transaction, StoreError> {
        let store = self.store();
        let request = async move { store.begin().await };
        let transaction = self.call(StoreCall::Begin, request).await?;
        Ok(UnreliableTransaction {
            transaction,
            network: Arc::clone(&self.network),
        })
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

/// A transaction of an [`UnreliableStore`].
pub struct UnreliableTransaction<T> {
    /// The store's own transaction.
    pub transaction: T,
    network: Arc<Network>,
}

impl<T: StoreTransaction> StoreTransaction for UnreliableTransaction<T> {
    async fn write(&mut self, runner: &Runner, write: Write) -> Result<bool, StoreError> {
        // Within a transaction nothing takes place before its commit.
        match self.network.fault(StoreCall::TransactionWrite) {
            None => self.transaction.write(runner, write).await,
            Some(StoreFault::Silent) => pending().await,
            Some(StoreFault::Refused) => Err(refused()),
            Some(_) => Err(StoreError::new(StoreErrorKind::Away, "it is away")),
        }
    }

    async fn commit(self) -> Result<(), StoreError> {
        let committing = self.transaction.commit();
        let network = self.network;
        network
            .carry(StoreCall::Commit, committing, |()| None)
            .await
    }
}

fn refused() -> StoreError {
    StoreError::new(StoreErrorKind::Refused, "one of the writes is bad")
}
