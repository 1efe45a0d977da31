//! Every law of the store.

use std::sync::Arc;

use idem_runtime::ledger::shared::LettersIn;
use idem_runtime::testing::store_laws::Subject;
use idem_runtime::testing::{ManualClock, MemoryLedger};

use crate::clocked::{ClockedLedger, ClockedStore};

fn open() -> Subject<ClockedStore> {
    let clock = ManualClock::default();
    let ledger = ClockedLedger::empty(clock.clone());
    Subject::new(clock, move || {
        let ledger = ledger.clone();
        async move { ledger.store().await.unwrap() }
    })
}

fn open_with_letters_in() -> Subject<LettersIn<ClockedStore>> {
    let clock = ManualClock::default();
    let ledger = ClockedLedger::empty(clock.clone());
    let second = Arc::new(MemoryLedger::new(Arc::new(clock.clone())));
    Subject::new(clock, move || {
        let (ledger, second) = (ledger.clone(), second.clone());
        async move { LettersIn::new(ledger.store().await.unwrap(), ledger.name(), second) }
    })
}

mod redis {
    idem_runtime::store_laws!(super::open);
}

mod redis_with_letters_in {
    idem_runtime::store_laws!(super::open_with_letters_in);
}
