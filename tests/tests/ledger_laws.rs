//! Every law of the ledger, on every ledger.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idem_runtime::ledger::shared::{SharedLedger, Store};
use idem_runtime::ledger::{FjallLedger, FjallStore, SledLedger};
use idem_runtime::testing::{
    LedgerFault, ManualClock, MemoryLedger, MemoryStore, Process, UnreliableLedger,
    UnreliableStore, laws::Subject,
};
use tempfile::TempDir;

fn sled() -> Subject {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let (again, clock) = (Arc::clone(&folder), ManualClock::default());
    opened(&folder, clock)
        .keeping(folder)
        .opened_again(move |clock| opened(&again, clock))
}

fn opened(folder: &TempDir, clock: ManualClock) -> Subject {
    let (ours, owner) = (Arc::new(clock.clone()), "laws".to_owned());
    let ledger = SledLedger::open(folder.path(), 64 << 20, ours, owner).unwrap();
    Subject::new(Arc::new(ledger), clock)
}

fn fjall() -> Subject {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let (again, clock) = (Arc::clone(&folder), ManualClock::default());
    opened_on_fjall(&folder, clock)
        .keeping(folder)
        .opened_again(move |clock| opened_on_fjall(&again, clock))
}

fn opened_on_fjall(folder: &TempDir, clock: ManualClock) -> Subject {
    let process = Process::start("laws".to_owned(), Arc::new(clock.clone())).unwrap();
    let store = FjallStore::open(folder.path(), 64 << 20, Arc::new(clock.clone())).unwrap();
    let ledger = process
        .open(|context| FjallLedger::open(store, context))
        .unwrap();
    Subject::new(Arc::new(ledger), clock).keeping(process)
}

fn memory() -> Subject {
    let clock = ManualClock::default();
    let ledger = Arc::new(MemoryLedger::new(Arc::new(clock.clone())));
    let shared = Arc::clone(&ledger);
    Subject::new(ledger, clock).opened_again(move |clock| Subject::new(shared.clone(), clock))
}

/// Every claim and every report is made twice, as if the first answer was lost.
fn asked_twice() -> Subject {
    let clock = ManualClock::default();
    let ledger = MemoryLedger::new(Arc::new(clock.clone()));
    let ledger = UnreliableLedger::new(ledger, |_| Some(LedgerFault::Twice));
    Subject::new(Arc::new(ledger), clock)
}

fn shared() -> Subject {
    let clock = ManualClock::default();
    let store = MemoryStore::new(Arc::new(clock.clone()));
    connected(move || store.clone(), LEASE, clock)
}

/// A quarter of what each process asks of the store goes wrong.
fn shared_over_a_bad_network() -> Subject {
    let clock = ManualClock::default();
    let (store, time) = (MemoryStore::new(Arc::new(clock.clone())), clock.clone());
    let connect = move || {
        let seed = fastrand::u64(..);
        eprintln!("the network's seed is {seed}");
        UnreliableStore::at_random(store.clone(), time.clone(), seed)
    };
    // A process whose heartbeat is late loses its claims, and the laws are of claims that last.
    connected(connect, LEASE * 4, clock)
}

/// Opens a shared ledger in a process of its own, over a connection of its own.
fn connected<S: Store>(
    connect: impl Fn() -> S + Clone + Send + Sync + 'static,
    lease: Duration,
    clock: ManualClock,
) -> Subject {
    static PROCESSES: AtomicU64 = AtomicU64::new(0);
    let number = PROCESSES.fetch_add(1, Ordering::Relaxed);
    let process = Process::start(format!("process {number}"), Arc::new(clock.clone())).unwrap();
    let connection = connect();
    let ledger = process
        .open(|context| SharedLedger::open(connection, context, lease))
        .unwrap();
    Subject::new(Arc::new(ledger), clock)
        .keeping(process)
        .opened_again(move |clock| connected(connect.clone(), lease, clock))
}

const LEASE: Duration = Duration::from_secs(30);

mod sled_ledger {
    idem_runtime::ledger_laws!(super::sled);
}

mod fjall_ledger {
    idem_runtime::ledger_laws!(super::fjall);
}

mod memory_ledger {
    idem_runtime::ledger_laws!(super::memory);
}

mod memory_ledger_asked_twice {
    idem_runtime::ledger_laws!(super::asked_twice);
}

mod shared_ledger {
    idem_runtime::ledger_laws!(super::shared);
}

mod shared_ledger_over_a_bad_network {
    idem_runtime::ledger_laws!(super::shared_over_a_bad_network);
}
