//! Work for a ledger: orders that are done, fail, die, are redriven and discarded, small ones and
//! large ones.

use fastrand::Rng;
use futures_util::future::join_all;
use idem_runtime::ledger::Engine;
use idem_runtime::protocol::RecordId;
use idem_runtime::testing::ManualClock;
use idem_runtime::{DeadLetterId, Error, Idem, idempotent};
use std::sync::Arc;

use crate::known::{Asked, Known, Order, Said, World};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Idem(#[from] Error),
    #[error("attempt {0} was to fail")]
    Planned(u32),
}

const HANDLER: &str = "disk.order";
/// Attempts an order has.
pub(crate) const ATTEMPTS: u32 = 2;

#[idempotent(
    name = "disk.order",
    key = "order.number",
    retries = 1,
    retry = "redeliver",
    backoff(initial = "0ms"),
    ttl = "1h",
    skip(world)
)]
async fn place(order: Order, world: &World) -> Result<String, Trouble> {
    let attempt = idem_runtime::attempt().map_or(0, |attempt| attempt.number);
    if order.fails == HELD && world.holds() {
        world.starts(order.number, attempt);
        std::future::pending::<()>().await;
    }
    if world.starts(order.number, attempt) && attempt <= order.fails && order.fails != HELD {
        return Err(Trouble::Planned(attempt));
    }
    Ok(order.result())
}

/// What an order "fails" whose body does not come back, in a world that holds such.
pub(crate) const HELD: u32 = u32::MAX;

/// Brings an order, and notes what was asked and what was answered.
pub(crate) async fn bring(idem: &Idem, world: &World, order: Order) -> Result<String, Trouble> {
    world.asks(&order, Asked::Call);
    let answer = idem.scope(place(order.clone(), world)).await;
    let said = match &answer {
        Ok(_) => Said::Done,
        Err(Trouble::Planned(attempt)) if *attempt < ATTEMPTS => Said::Failed(*attempt),
        // Its letter's id is what the next call is told.
        Err(Trouble::Planned(_)) => Said::Dead(None),
        Err(Trouble::Idem(Error::DeadLettered { id, .. })) => Said::Dead(Some(*id)),
        Err(Trouble::Idem(_)) => return answer,
    };
    world.hears(order.number, said);
    answer
}

pub(crate) fn record_id(number: u32) -> RecordId {
    RecordId::new(HANDLER, number.to_string())
}

/// What a load is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    /// New orders a round.
    pub(crate) fresh: u32,
    /// One round in this many has some results of hundreds of kilobytes; none if 0.
    pub(crate) large: u32,
}

/// Some new orders, some that failed, some duplicates, and a person's work on dead letters, all at
/// once.
pub(crate) async fn round(idem: &Idem, world: &World, mix: Mix, random: &mut Rng) {
    let known = world.known();
    let mut orders: Vec<Order> = Vec::new();
    let mut letters: Vec<(u32, DeadLetterId, bool)> = Vec::new();
    for (number, Known { order, said, .. }) in &known {
        match said {
            Said::Failed(_) | Said::Redriven(_) if random.u8(..10) < 7 => {
                orders.push(order.clone());
            }
            Said::Dead(None) => orders.push(order.clone()),
            Said::Dead(Some(id)) if random.u8(..10) < 2 => {
                letters.push((*number, *id, random.u8(..3) > 0));
            }
            Said::Done | Said::Discarded(_) if random.u8(..100) < 3 => orders.push(order.clone()),
            _ => {}
        }
    }
    let next = known.len() as u32;
    // Large ones come together, so that one group is larger than sled's segments.
    let large = mix.large > 0 && random.u32(..mix.large) == 0;
    orders.extend(
        (next..next + mix.fresh).map(|number| order(number, large && number - next < 4, random)),
    );
    let calls = orders.into_iter().map(|order| async {
        if let Err(trouble @ Trouble::Idem(_)) = bring(idem, world, order).await {
            assert!(
                matches!(trouble, Trouble::Idem(Error::DeadLettered { .. })),
                "{trouble}"
            );
        }
    });
    let people = letters.into_iter().map(|(number, id, again)| async move {
        let (asked, said) = if again {
            (Asked::Redrive, Said::Redriven(id))
        } else {
            (Asked::Discard, Said::Discarded(id))
        };
        world.asks_about(number, asked);
        let letters = idem.dead_letters();
        if again {
            letters.redrive(&id).await
        } else {
            letters.discard(&id, "no use").await
        }
        .unwrap();
        world.hears(number, said);
    });
    tokio::join!(join_all(calls), join_all(people));
}

fn order(number: u32, large: bool, random: &mut Rng) -> Order {
    let size = match random.u8(..20) {
        _ if large => random.u32(200_000..1_000_000),
        0 => random.u32(4_000..20_000),
        _ => random.u32(..60),
    };
    let note = if random.u8(..20) == 0 {
        random.usize(3_000..9_000)
    } else {
        random.usize(..80)
    };
    let fails = match random.u8(..20) {
        0..3 => 1,
        3..5 => ATTEMPTS,
        _ => 0,
    };
    Order {
        number,
        fails,
        size,
        note: "n".repeat(note),
    }
}

/// Opens a folder as all tests here do: with a small cache, so that engines read what they wrote. A new
/// folder gets the engine whose own folder is in it.
pub(crate) fn open(folder: &std::path::Path, clock: &ManualClock) -> Result<Idem, Error> {
    Idem::builder()
        .engine(Engine::of(folder).unwrap_or_default())
        .cache(4 << 20)
        .clock(Arc::new(clock.clone()))
        .open(folder)
}
