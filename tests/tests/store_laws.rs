//! Every law of the store, on every store.

use std::sync::Arc;

use idem_runtime::testing::store_laws::Subject;
use idem_runtime::testing::{ManualClock, MemoryStore, UnreliableStore};

fn memory() -> Subject<MemoryStore> {
    let clock = ManualClock::default();
    let data = MemoryStore::new(Arc::new(clock.clone()));
    Subject::new(clock, move || std::future::ready(data.clone()))
}

/// Nothing fails that is not told to.
fn unreliable() -> Subject<UnreliableStore<MemoryStore>> {
    let clock = ManualClock::default();
    let data = MemoryStore::new(Arc::new(clock.clone()));
    let time = clock.clone();
    Subject::new(clock, move || {
        std::future::ready(UnreliableStore::new(data.clone(), time.clone()))
    })
}

mod memory_store {
    idem_runtime::store_laws!(super::memory);
}

mod unreliable_store {
    idem_runtime::store_laws!(super::unreliable);
}
