//! Processes on one store.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::ledger::shared::SharedLedger;
use idem_runtime::ledger::{Ledger, LedgerError};
use idem_runtime::protocol::{
    AttemptOutcome, Budget, Claim, Failed, Fingerprint, Grant, RecordId, Reply, Step, StoredResult,
};
use idem_runtime::testing::{ManualClock, MemoryStore, Process, UnreliableStore};

pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const TTL: Duration = Duration::from_secs(3600);

type Shared = SharedLedger<UnreliableStore<MemoryStore>>;

/// A server, its clock, and the processes that connect to it.
pub(crate) struct Server {
    pub(crate) clock: ManualClock,
    pub(crate) store: MemoryStore,
}

/// A process with its connection.
pub(crate) struct Member {
    pub(crate) ledger: Arc<Shared>,
    pub(crate) network: UnreliableStore<MemoryStore>,
    name: &'static str,
    _process: Process,
}

impl Server {
    pub(crate) fn start() -> Self {
        let clock = ManualClock::default();
        let store = MemoryStore::new(Arc::new(clock.clone()));
        Self { clock, store }
    }

    pub(crate) fn member(&self, name: &'static str) -> Member {
        self.member_with(name, self.clock.clone())
    }

    /// A process whose machine has this clock.
    pub(crate) fn member_with(&self, name: &'static str, clock: ManualClock) -> Member {
        let network = UnreliableStore::new(self.store.clone(), self.clock.clone());
        let process = Process::start(name, Arc::new(clock)).unwrap();
        let connection = network.clone();
        let ledger = process
            .open(|context| SharedLedger::open(connection, context, LEASE))
            .unwrap();
        Member {
            ledger: Arc::new(ledger),
            network,
            name,
            _process: process,
        }
    }

    /// Lets time pass until something has happened.
    pub(crate) async fn until<T>(&self, happened: impl Future<Output = T>) -> T {
        let mut happened = std::pin::pin!(happened);
        for _ in 0..2_500 {
            tokio::select! {
                happened = &mut happened => return happened,
                () = tokio::time::sleep(Duration::from_millis(1)) => {
                    self.clock.advance(Duration::from_millis(40));
                }
            }
        }
        panic!("it did not happen within 100 seconds of the clock");
    }
}

impl Member {
    pub(crate) async fn ask(&self, key: &str, step: Step) -> Result<Reply, LedgerError> {
        self.ledger.apply(&id(key), step).await
    }

    pub(crate) async fn step(&self, key: &str, step: Step) -> Reply {
        self.ask(key, step).await.unwrap()
    }

    /// A claim of this process.
    pub(crate) fn claim(&self, nonce: u64) -> Step {
        let payload = br#"{"sku":"TEA-500"}"#.as_slice();
        let claim = Claim::new(self.name, payload, Budget::new(2, TTL), LEASE).nonce(nonce);
        Step::Claim(claim.fingerprint(Fingerprint([1; 16])))
    }

    /// Claims and expects to run.
    pub(crate) async fn start(&self, key: &str, nonce: u64) -> Grant {
        match self.step(key, self.claim(nonce)).await {
            Reply::Run(grant) => grant,
            other => panic!("expected a claim of `{key}` to run, got {other:?}"),
        }
    }
}

pub(crate) fn id(key: &str) -> RecordId {
    RecordId::new("tests", key)
}

pub(crate) fn complete(token: u64) -> Step {
    Step::Complete {
        token,
        result: StoredResult::json(b"1".as_slice()),
        notes: Vec::new(),
    }
}

pub(crate) fn fail(token: u64, outcome: AttemptOutcome) -> Step {
    Step::Fail(Failed::new(token, outcome, Duration::from_secs(10)).error("no stock"))
}
