//! Every law of the ledger, on every ledger.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use idem_runtime::ledger::SledLedger;
use idem_runtime::testing::{ManualClock, MemoryLedger, laws::Subject};

fn sled() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let ledger = SledLedger::open(
        folder.path(),
        64 << 20,
        Arc::new(clock.clone()),
        "laws".to_owned(),
    )
    .unwrap();
    Subject::new(Arc::new(ledger), clock).keeping(folder)
}

fn memory() -> Subject {
    let clock = ManualClock::default();
    Subject::new(Arc::new(MemoryLedger::new(Arc::new(clock.clone()))), clock)
}

mod sled_ledger {
    idem_runtime::ledger_laws!(super::sled);
}

mod memory_ledger {
    idem_runtime::ledger_laws!(super::memory);
}
