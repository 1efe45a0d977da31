//! Every law of the store.

use idem_runtime::testing::ManualClock;
use idem_runtime::testing::store_laws::Subject;

use crate::clocked::ClockedStore;
use crate::laws::empty;

fn open() -> Subject<ClockedStore> {
    let clock = ManualClock::default();
    let database = empty(clock.clone());
    Subject::new(clock, move || {
        let database = database.clone();
        async move { database.store().await.unwrap() }
    })
}

idem_runtime::store_laws!(open);
