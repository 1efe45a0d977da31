//! Replicas stop and go together.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use idem_runtime::ledger::shared::SharedLedger;
use idem_runtime::pause::PauseState;
use idem_runtime::testing::{ManualClock, MemoryStore};
use idem_runtime::{Error, Idem};

use super::{DOWN, UP, World, ann, call, comes_to, paused, to_the_probe, told, trip};
use crate::common::{Body, Oops, soon};

struct Replicas {
    clock: ManualClock,
    store: MemoryStore,
}

impl Replicas {
    fn new() -> Self {
        let clock = ManualClock::default();
        let store = MemoryStore::new(Arc::new(clock.clone()));
        Self { clock, store }
    }

    async fn start(&self) -> Idem {
        let store = self.store.clone();
        let lease = Duration::from_secs(24 * 3600);
        Idem::builder()
            .clock(Arc::new(self.clock.clone()))
            .open_with(move |context| SharedLedger::open(store, context, lease))
            .await
            .unwrap()
    }
}

/// Waits until a process turns calls away, or lets them in again, by itself.
async fn until_turned_away(idem: &Idem, world: &Arc<World>, away: bool) {
    let mut key = 0;
    let tries = async {
        loop {
            key += 1;
            let called = call(idem, format!("try-{key}"), world).await;
            let turned = matches!(called, Err(Oops::Idem(Error::Paused { .. })));
            if turned == away {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(tries).await;
}

#[tokio::test]
async fn replicas_stop_and_go_together() {
    let (replicas, world) = (Replicas::new(), World::new(DOWN));
    let (one, other) = (replicas.start().await, replicas.start().await);
    let pause = trip(&one, &world).await;
    world.is(UP);
    until_turned_away(&other, &world, true).await;
    to_the_probe(&replicas.clock, &pause);
    // Of all that try at once in both, one is let through.
    world.is(DOWN);
    let starts = world.body.starts();
    let idems = [&one, &other];
    let tries = (0..20).map(|key| call(idems[key % 2], format!("p-{key}"), &world));
    join_all(tries).await;
    assert_eq!(world.body.starts(), starts + 1);
    let pause = comes_to(&other, Some(PauseState::Paused)).await.unwrap();
    to_the_probe(&replicas.clock, &pause);
    world.is(UP);
    call(&other, "well", &world).await.unwrap();
    comes_to(&one, Some(PauseState::Recovering)).await;
    one.resume("pauses.told", ann("all is well")).await.unwrap();
    until_turned_away(&other, &world, false).await;
    comes_to(&other, None).await;
}

/// The process with the probe is gone, and says nothing more.
#[tokio::test]
async fn a_probe_of_a_dead_process_is_followed_by_another_one() {
    let (replicas, world) = (Replicas::new(), World::new(DOWN));
    let (one, other) = (replicas.start().await, replicas.start().await);
    let pause = trip(&one, &world).await;
    until_turned_away(&other, &world, true).await;
    to_the_probe(&replicas.clock, &pause);
    let shut = World::with(UP, Body::shut());
    let mut probe = Box::pin(one.scope(told("probe".into(), Arc::clone(&shut))));
    shut.body.holds(&mut probe, 1).await;
    // Its runtime stops: not even its drop is heard of.
    std::mem::forget(probe);
    let pause = comes_to(&other, Some(PauseState::Probing)).await.unwrap();
    world.is(UP);
    paused(call(&other, "next", &world).await.unwrap_err());
    to_the_probe(&replicas.clock, &pause);
    call(&other, "next", &world).await.unwrap();
    std::mem::forget(one);
}
