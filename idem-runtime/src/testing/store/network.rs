//! A network that loses and delays what it carries.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::clock::{Clock, until};
use crate::ledger::shared::{LATEST, StoreError, StoreErrorKind, Write};
use crate::protocol::RecordId;
use crate::testing::ManualClock;

/// A call of a store that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreCall {
    /// [`Store::read`](crate::ledger::shared::Store::read).
    Read,
    /// [`Store::write`](crate::ledger::shared::Store::write).
    Write,
    /// [`Store::reserve`](crate::ledger::shared::Store::reserve).
    Reserve,
    /// [`Store::beat`](crate::ledger::shared::Store::beat).
    Beat,
    /// [`Store::retire`](crate::ledger::shared::Store::retire).
    Retire,
    /// [`Store::due`](crate::ledger::shared::Store::due).
    Due,
    /// [`Store::remove_due`](crate::ledger::shared::Store::remove_due).
    RemoveDue,
    /// The reads of letters and notes.
    List,
    /// [`Store::remove_letters`](crate::ledger::shared::Store::remove_letters).
    RemoveLetters,
    /// [`Store::write_notes`](crate::ledger::shared::Store::write_notes).
    WriteNotes,
    /// [`Store::begin`](crate::ledger::shared::Store::begin).
    Begin,
    /// [`StoreTransaction::write`](crate::ledger::shared::StoreTransaction::write).
    TransactionWrite,
    /// [`StoreTransaction::commit`](crate::ledger::shared::StoreTransaction::commit).
    Commit,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreFault {
    /// The server is away: nothing takes place.
    Away,
    /// The server has lost something: nothing takes place before a person has acted.
    Stopped,
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

/// A network that loses and delays.
pub(super) struct Network {
    clock: ManualClock,
    /// The runtime of the first call, which opens the ledger: that of a later one may end.
    home: OnceLock<Handle>,
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

impl Network {
    /// Returns a network on which nothing fails; with a seed, at random.
    pub(super) fn new(clock: ManualClock, seed: Option<u64>) -> Self {
        let random = seed.map(|seed| Random {
            numbers: fastrand::Rng::with_seed(seed),
            in_a_row: HashMap::default(),
        });
        let state = Mutex::new(State {
            random,
            ..State::default()
        });
        Self {
            clock,
            home: OnceLock::new(),
            state,
        }
    }

    pub(super) fn next(&self, call: StoreCall, fault: Option<StoreFault>) {
        let mut state = self.state.lock();
        state.next.entry(call).or_default().push_back(fault);
    }

    pub(super) fn always(&self, call: StoreCall, fault: StoreFault) {
        self.state.lock().always.insert(call, fault);
    }

    pub(super) fn refuse(&self, row: RecordId) {
        self.state.lock().bad.push(row);
    }

    pub(super) fn mend(&self) {
        let mut state = self.state.lock();
        *state = State {
            steps: state.steps,
            ..State::default()
        };
    }

    /// Returns whether one of these writes is refused.
    pub(super) fn is_bad(&self, writes: &[Write]) -> bool {
        let state = self.state.lock();
        writes.iter().any(|write| state.bad.contains(&write.id))
    }

    /// Carries a request and its answer. `other` makes the answer of another request of its answer.
    pub(super) async fn carry<T: Send + 'static>(
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
            StoreFault::Stopped => {
                let message = "it has lost something";
                Err(StoreError::new(StoreErrorKind::Stopped, message))
            }
            StoreFault::Lost => {
                // An error of the store's own is an answer too.
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
                self.home().spawn(async move {
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
    pub(super) fn fault(self: &Arc<Self>, call: StoreCall) -> Option<StoreFault> {
        // The first call may go well.
        self.home();
        let mut state = self.state.lock();
        if let Some(next) = state.next.get_mut(&call).and_then(VecDeque::pop_front) {
            return next;
        }
        if let Some(always) = state.always.get(&call) {
            return Some(*always);
        }
        let fault = state.random.as_mut()?.fault(call)?;
        if std::mem::replace(&mut state.steps, STEPS) == 0 {
            self.home().spawn(Arc::clone(self).let_time_pass());
        }
        Some(fault)
    }

    fn home(&self) -> &Handle {
        self.home.get_or_init(Handle::current)
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
        let kinds = match call {
            StoreCall::Begin | StoreCall::TransactionWrite | StoreCall::Commit => return None,
            StoreCall::WriteNotes => 1,
            _ => 5,
        };
        let in_a_row = self.in_a_row.entry(call).or_default();
        if *in_a_row == MOST || self.numbers.u32(..4) > 0 {
            *in_a_row = 0;
            return None;
        }
        *in_a_row += 1;
        let later = Duration::from_millis(self.numbers.u64(1..2_000));
        Some(match self.numbers.u32(..kinds) {
            0 => StoreFault::Away,
            1 => StoreFault::Lost,
            2 => StoreFault::LostRequest,
            3 => StoreFault::LateRequest(later),
            _ => StoreFault::OtherAnswer,
        })
    }
}

pub(super) fn refused() -> StoreError {
    StoreError::new(StoreErrorKind::Refused, "one of the writes is bad")
}
