//! What a ledger of several machines shows of its store, in figures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use idem_runtime::ledger::Ledger;
use idem_runtime::ledger::shared::{Runner, SharedLedger, Store};
use idem_runtime::protocol::{Budget, Claim, RecordId, Reply, Step};
use idem_runtime::testing::{
    ManualClock, MemoryStore, Process, StoreCall, StoreFault, UnreliableStore,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

const LEASE: Duration = Duration::from_secs(30);

fn seen(metrics: &Snapshotter) -> BTreeMap<String, DebugValue> {
    let metrics = metrics.snapshot().into_vec().into_iter();
    let named = metrics.map(|(key, _, _, value)| {
        let labels = key
            .key()
            .labels()
            .map(|label| format!(" {}", label.value()));
        (
            key.key().name().to_owned() + &labels.collect::<String>(),
            value,
        )
    });
    named.collect()
}

fn claim(owner: &str) -> Step {
    let claim = Claim::new(owner, b"{}".as_slice(), Budget::new(2, LEASE), LEASE);
    Step::Claim(claim.nonce(1))
}

#[tokio::test]
async fn trouble_with_the_store_is_counted() {
    let recorder = DebuggingRecorder::new();
    let metrics = recorder.snapshotter();
    recorder.install().unwrap();
    let clock = ManualClock::default();
    let store = MemoryStore::new(Arc::new(clock.clone()));
    let network = UnreliableStore::new(store.clone(), clock.clone());
    let processes = ["P", "Q"].map(|name| Process::start(name, Arc::new(clock.clone())).unwrap());
    let ledgers = processes.each_ref().map(|process| {
        let connection = network.clone();
        process.open(|context| SharedLedger::open(connection, context, LEASE))
    });
    let [one, other] = ledgers.map(Result::unwrap);
    let step = async |on: &SharedLedger<_>, key: &str, owner| {
        let mut step = on.apply(&RecordId::new("tests", key), claim(owner));
        loop {
            tokio::select! {
                reply = &mut step => return reply.unwrap(),
                // So that a pause ends.
                () = tokio::time::sleep(Duration::from_millis(1)) => {
                    clock.advance(Duration::from_millis(20));
                }
            }
        }
    };

    assert!(matches!(step(&one, "A", "P").await, Reply::Run(_)));
    let busy = step(&other, "A", "Q").await;
    assert!(matches!(busy, Reply::Busy { .. }), "{busy:?}");
    network.next(StoreCall::Write, StoreFault::Away);
    network.next(StoreCall::Write, StoreFault::Lost);
    assert!(matches!(step(&one, "B", "P").await, Reply::Run(_)));
    assert!(store.retire(&Runner::from("P/1"), None).await.unwrap());
    assert!(matches!(step(&one, "C", "P").await, Reply::Run(_)));

    let now = seen(&metrics);
    let counted = |name: &str| match now.get(name) {
        Some(DebugValue::Counter(count)) => *count,
        other => panic!("{name} is {other:?} among {:#?}", now.keys()),
    };
    assert_eq!(counted("idem_steps_overtaken_total"), 1);
    for kind in ["away", "lost", "runner_dead"] {
        assert!(counted(&format!("idem_store_errors_total {kind}")) > 0);
    }
    assert_eq!(counted("idem_runner_lives_total"), 3);
    // Two of A, and one of C. How long B took is not known.
    for name in ["idem_commit_seconds", "idem_commit_group_size"] {
        match now.get(name) {
            Some(DebugValue::Histogram(values)) => assert_eq!(values.len(), 3, "{name}"),
            other => panic!("{name} is {other:?}"),
        }
    }

    let _wait = other.changed(&RecordId::new("tests", "A")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !matches!(
        seen(&metrics).get("idem_calls_waiting"),
        Some(DebugValue::Gauge(waiting)) if (waiting.0 - 1.0).abs() < f64::EPSILON
    ) {
        assert!(Instant::now() < deadline, "{:?}", seen(&metrics));
        tokio::task::yield_now().await;
    }
}
