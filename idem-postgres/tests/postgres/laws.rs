//! Every law of the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idem_runtime::ledger::shared::SharedLedger;
use idem_runtime::testing::laws::Subject;
use idem_runtime::testing::{ManualClock, Process, UnreliableStore};

use crate::clocked::ClockedDatabase;
use crate::database::Database;

/// The test's clock may move by half a minute while a heartbeat is under way, and the laws are of claims
/// that last.
const LEASE: Duration = Duration::from_secs(120);

fn on_postgres() -> Subject {
    let clock = ManualClock::default();
    process(empty(clock.clone()), clock)
}

/// A quarter of what each process asks of the store goes wrong.
fn over_a_bad_network() -> Subject {
    let clock = ManualClock::default();
    let seed = fastrand::u64(..);
    eprintln!("the network's seed is {seed}");
    badly_connected(empty(clock.clone()), clock.clone(), clock, seed)
}

fn through_pgbouncer() -> Subject {
    let clock = ManualClock::default();
    let empty = async { ClockedDatabase::of(Database::bounced().await?, clock.clone()).await };
    process(on_a_thread(empty).unwrap(), clock)
}

pub(crate) fn empty(clock: ManualClock) -> ClockedDatabase {
    on_a_thread(ClockedDatabase::empty(clock)).unwrap()
}

/// Laws open their subjects on runtimes, which must not be blocked by another.
fn on_a_thread<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        scope
            .spawn(|| runtime.unwrap().block_on(future))
            .join()
            .unwrap()
    })
}

fn name() -> String {
    static PROCESSES: AtomicU64 = AtomicU64::new(0);
    format!("process {}", PROCESSES.fetch_add(1, Ordering::Relaxed))
}

fn process(database: ClockedDatabase, clock: ManualClock) -> Subject {
    let process = Process::start(name(), Arc::new(clock.clone())).unwrap();
    let data = database.clone();
    let ledger = process.open(|context| async move {
        SharedLedger::open(data.store().await?, context, LEASE).await
    });
    Subject::new(Arc::new(ledger.unwrap()), clock)
        .keeping(process)
        .opened_again(move |clock| self::process(database.clone(), clock))
}

fn badly_connected(
    database: ClockedDatabase,
    time: ManualClock,
    clock: ManualClock,
    seed: u64,
) -> Subject {
    let process = Process::start(name(), Arc::new(clock.clone())).unwrap();
    let (data, servers) = (database.clone(), time.clone());
    let ledger = process.open(move |context| async move {
        let store = UnreliableStore::at_random(data.store().await?, servers, seed);
        SharedLedger::open(store, context, LEASE).await
    });
    Subject::new(Arc::new(ledger.unwrap()), clock)
        .keeping(process)
        .opened_again(move |clock| {
            badly_connected(database.clone(), time.clone(), clock, seed.wrapping_add(1))
        })
}

mod postgres {
    idem_runtime::ledger_laws!(super::on_postgres);
}

mod postgres_over_a_bad_network {
    idem_runtime::ledger_laws!(super::over_a_bad_network);
}

mod postgres_through_pgbouncer {
    idem_runtime::ledger_laws!(super::through_pgbouncer);
}
