//! Every law of the ledger, on every ledger.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idem_runtime::ledger::SledLedger;
use idem_runtime::ledger::shared::SharedLedger;
use idem_runtime::testing::{ManualClock, MemoryLedger, MemoryStore, Process, laws::Subject};
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

fn memory() -> Subject {
    let clock = ManualClock::default();
    let ledger = Arc::new(MemoryLedger::new(Arc::new(clock.clone())));
    let shared = Arc::clone(&ledger);
    Subject::new(ledger, clock).opened_again(move |clock| Subject::new(shared.clone(), clock))
}

fn shared() -> Subject {
    let clock = ManualClock::default();
    connected(&MemoryStore::new(Arc::new(clock.clone())), clock)
}

/// Opens a shared ledger in a process of its own, over a connection of its own.
fn connected(store: &MemoryStore, clock: ManualClock) -> Subject {
    static PROCESSES: AtomicU64 = AtomicU64::new(0);
    let number = PROCESSES.fetch_add(1, Ordering::Relaxed);
    let process = Process::start(format!("process {number}"), Arc::new(clock.clone())).unwrap();
    let (connection, again) = (store.clone(), store.clone());
    let ledger = process
        .open(|context| SharedLedger::open(connection, context, LEASE))
        .unwrap();
    Subject::new(Arc::new(ledger), clock)
        .keeping(process)
        .opened_again(move |clock| connected(&again, clock))
}

const LEASE: Duration = Duration::from_secs(30);

mod sled_ledger {
    idem_runtime::ledger_laws!(super::sled);
}

mod memory_ledger {
    idem_runtime::ledger_laws!(super::memory);
}

mod shared_ledger {
    idem_runtime::ledger_laws!(super::shared);
}
