//! Every law of the store, on every store.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use idem_runtime::ledger::FjallStore;
use idem_runtime::ledger::shared::Store as _;
use idem_runtime::testing::store_laws::Subject;
use idem_runtime::testing::{ManualClock, MemoryStore, UnreliableStore};
use tokio::sync::Mutex;

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

/// Its processes are handles to one store, which is opened again once it was closed.
fn fjall() -> Subject<FjallStore> {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let (path, clock) = (folder.path().to_owned(), ManualClock::default());
    let (open, time) = (Arc::new(Mutex::new(None::<FjallStore>)), clock.clone());
    let connect = move || {
        let (open, path, time) = (Arc::clone(&open), path.clone(), time.clone());
        async move {
            let mut open = open.lock().await;
            if let Some(store) = &*open
                && store.read(Vec::new()).await.is_ok()
            {
                return store.clone();
            }
            let store = FjallStore::open(&path, 16 << 20, Arc::new(time)).unwrap();
            open.insert(store).clone()
        }
    };
    Subject::new(clock, connect).keeping(folder)
}

mod fjall_store {
    idem_runtime::store_laws!(super::fjall);
}

mod memory_store {
    idem_runtime::store_laws!(super::memory);
}

mod unreliable_store {
    idem_runtime::store_laws!(super::unreliable);
}
