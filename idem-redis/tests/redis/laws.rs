//! Every law of the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idem_runtime::ledger::shared::{LettersIn, SharedLedger};
use idem_runtime::testing::laws::Subject;
use idem_runtime::testing::{ManualClock, Process, UnreliableStore};

use crate::clocked::ClockedLedger;

/// The test's clock may move by half a minute while a heartbeat is under way, and the laws are of claims
/// that last.
const LEASE: Duration = Duration::from_secs(120);

fn on_redis() -> Subject {
    let clock = ManualClock::default();
    process(ClockedLedger::empty(clock.clone()), clock)
}

/// A quarter of what each process asks of the store goes wrong.
fn over_a_bad_network() -> Subject {
    let clock = ManualClock::default();
    let seed = fastrand::u64(..);
    eprintln!("the network's seed is {seed}");
    badly_connected(
        ClockedLedger::empty(clock.clone()),
        clock.clone(),
        clock,
        seed,
    )
}

fn name() -> String {
    static PROCESSES: AtomicU64 = AtomicU64::new(0);
    format!("process {}", PROCESSES.fetch_add(1, Ordering::Relaxed))
}

fn process(ledger: ClockedLedger, clock: ManualClock) -> Subject {
    let process = Process::start(name(), Arc::new(clock.clone())).unwrap();
    let data = ledger.clone();
    let opened = process.open(|context| async move {
        SharedLedger::open(data.store().await?, context, LEASE).await
    });
    Subject::new(Arc::new(opened.unwrap()), clock)
        .keeping(process)
        .opened_again(move |clock| self::process(ledger.clone(), clock))
}

fn badly_connected(
    ledger: ClockedLedger,
    time: ManualClock,
    clock: ManualClock,
    seed: u64,
) -> Subject {
    let process = Process::start(name(), Arc::new(clock.clone())).unwrap();
    let (data, servers) = (ledger.clone(), time.clone());
    let opened = process.open(move |context| async move {
        let store = UnreliableStore::at_random(data.store().await?, servers, seed);
        SharedLedger::open(store, context, LEASE).await
    });
    Subject::new(Arc::new(opened.unwrap()), clock)
        // Each fault costs a connection.
        .patience(Duration::from_secs(240))
        .keeping(process)
        .opened_again(move |clock| {
            badly_connected(ledger.clone(), time.clone(), clock, seed.wrapping_add(1))
        })
}

/// The letters are in a second ledger too.
fn with_letters_in() -> Subject {
    let clock = ManualClock::default();
    let (claims, letters) = (
        ClockedLedger::empty(clock.clone()),
        ClockedLedger::empty(clock.clone()),
    );
    let seed = fastrand::u64(..);
    eprintln!("the network's seed is {seed}");
    keeping_letters([claims, letters], clock.clone(), clock, seed)
}

fn keeping_letters(
    ledgers: [ClockedLedger; 2],
    time: ManualClock,
    clock: ManualClock,
    seed: u64,
) -> Subject {
    let process = Process::start(name(), Arc::new(clock.clone())).unwrap();
    let ([claims, letters], servers) = (ledgers.clone(), time.clone());
    let opened = process.open(move |context| async move {
        let second = SharedLedger::open(letters.store().await?, context.clone(), LEASE).await?;
        let store = LettersIn::new(claims.store().await?, claims.name(), Arc::new(second));
        store.restore().await?;
        let store = UnreliableStore::at_random(store, servers, seed);
        SharedLedger::open(store, context, LEASE).await
    });
    Subject::new(Arc::new(opened.unwrap()), clock)
        .patience(Duration::from_secs(240))
        .keeping(process)
        .opened_again(move |clock| {
            keeping_letters(ledgers.clone(), time.clone(), clock, seed.wrapping_add(1))
        })
}

mod redis {
    idem_runtime::ledger_laws!(super::on_redis);
}

mod redis_over_a_bad_network {
    idem_runtime::ledger_laws!(super::over_a_bad_network);
}

mod redis_with_letters_in {
    idem_runtime::ledger_laws!(super::with_letters_in);
}
