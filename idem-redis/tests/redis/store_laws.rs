//! Every law of the store.

use idem_runtime::testing::ManualClock;
use idem_runtime::testing::store_laws::Subject;

use crate::clocked::{ClockedLedger, ClockedStore};

fn open() -> Subject<ClockedStore> {
    let clock = ManualClock::default();
    let ledger = ClockedLedger::empty(clock.clone());
    Subject::new(clock, move || {
        let ledger = ledger.clone();
        async move { ledger.store().await.unwrap() }
    })
}

idem_runtime::store_laws!(open);
