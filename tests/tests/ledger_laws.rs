//! Every law of the ledger, on every ledger.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use idem_runtime::ledger::SledLedger;
use idem_runtime::testing::{
    LedgerFault, ManualClock, MemoryLedger, UnreliableLedger, laws::Subject,
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

mod sled_ledger {
    idem_runtime::ledger_laws!(super::sled);
}

mod memory_ledger {
    idem_runtime::ledger_laws!(super::memory);
}

mod memory_ledger_asked_twice {
    idem_runtime::ledger_laws!(super::asked_twice);
}
