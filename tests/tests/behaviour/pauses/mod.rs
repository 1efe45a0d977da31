//! A handler pauses when what it needs is down, tries one message after a while, and recovers.

mod by_hand;
mod probing;
mod replicas;
mod tripping;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use idem_runtime::pause::{Pause, PauseState};
use idem_runtime::protocol::Actor;
use idem_runtime::testing::ManualClock;
use idem_runtime::{Error, Idem, Origin, Verdict, idempotent};

use crate::common::{Body, Oops, soon};

const UP: u8 = 0;
const DOWN: u8 = 1;
const BAD: u8 = 2;

/// What the bodies need: it is up, down, or says no to what it is asked.
struct World {
    state: AtomicU8,
    body: Arc<Body>,
}

impl World {
    fn new(state: u8) -> Arc<Self> {
        Self::with(state, Body::open())
    }

    fn with(state: u8, body: Arc<Body>) -> Arc<Self> {
        let state = AtomicU8::new(state);
        Arc::new(Self { state, body })
    }

    fn is(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }

    async fn run(&self) -> Result<u32, Oops> {
        let number = self.body.run().await;
        match self.state.load(Ordering::SeqCst) {
            UP => Ok(number),
            DOWN => Err(Oops::own("the database is away")),
            _ => Err(Oops::own("bad order")),
        }
    }
}

fn is_outage(error: &Oops) -> bool {
    matches!(error, Oops::Own(text) if text == "the database is away")
}

/// It says which errors are outages.
#[idempotent(
    name = "pauses.told",
    key = "id",
    retries = 1,
    retry = "redeliver",
    outage = is_outage,
    backoff(initial = "0ms"),
    skip(world)
)]
async fn told(id: String, world: Arc<World>) -> Result<u32, Oops> {
    world.run().await
}

/// It does not.
#[idempotent(
    name = "pauses.untold",
    key = "id",
    retries = 3,
    retry = "redeliver",
    backoff(initial = "0ms"),
    skip(world)
)]
async fn untold(id: String, world: Arc<World>) -> Result<u32, Oops> {
    world.run().await
}

#[idempotent(
    name = "pauses.permanent",
    key = "id",
    retry = "redeliver",
    retry_if = is_outage,
    backoff(initial = "0ms"),
    skip(world)
)]
async fn permanent(id: String, world: Arc<World>) -> Result<u32, Oops> {
    world.run().await
}

async fn call(idem: &Idem, key: impl ToString, world: &Arc<World>) -> Result<u32, Oops> {
    soon(idem.scope(told(key.to_string(), Arc::clone(world)))).await
}

/// Delivers a message of the handler that does not say what an outage is.
async fn deliver(idem: &Idem, key: impl ToString, world: &Arc<World>) -> Verdict {
    let message = untold(key.to_string(), Arc::clone(world));
    let origin = Origin::new("rabbitmq", "orders");
    soon(idem.deliver(origin, message)).await.verdict
}

/// The only pause there is.
async fn pause(idem: &Idem) -> Option<Pause> {
    let mut pauses = idem.pauses().await.unwrap();
    assert!(pauses.len() <= 1, "{pauses:#?}");
    pauses.pop()
}

/// Waits until the only pause is as it should be: it is written in the background.
async fn comes_to(idem: &Idem, state: Option<PauseState>) -> Option<Pause> {
    let looks = async {
        loop {
            let pause = pause(idem).await;
            if pause.as_ref().map(|pause| pause.state) == state {
                return pause;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(looks).await
}

/// Pauses the handler by five outages.
async fn trip(idem: &Idem, world: &Arc<World>) -> Pause {
    world.is(DOWN);
    for key in 0..5 {
        call(idem, format!("trip-{key}"), world).await.unwrap_err();
    }
    comes_to(idem, Some(PauseState::Paused)).await.unwrap()
}

/// Moves the clock to when one message is let through.
fn to_the_probe(clock: &ManualClock, pause: &Pause) {
    clock.set(pause.retry_at.expect("it has no time"));
}

#[track_caller]
fn paused(error: Oops) -> (String, Duration) {
    match error.into_idem() {
        Error::Paused {
            retry_after, why, ..
        } => (why, retry_after),
        other => panic!("{other:?}"),
    }
}

fn ann(why: &str) -> Actor {
    Actor {
        who: Some("ann".to_owned()),
        why: Some(why.to_owned()),
    }
}
