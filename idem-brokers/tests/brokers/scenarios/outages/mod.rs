//! The business's database is away for a while.

mod measured;
mod world;

use std::sync::Arc;

use idem_test_support::servers::{self, Needs, POSTGRES, Server, trial_beside};
use libtest_mimic::Trial;

use crate::broker::Broker;
use crate::service::Kind;
use world::World;

/// What a test needs beside its broker.
const BESIDE: &[&servers::Kind] = &[&POSTGRES];

pub(super) fn all<B: Broker>() -> Vec<Trial> {
    let mut tests = measured::all::<B>();
    tests.extend([
        named::<B, _>(
            "everything_fails_for_a_while",
            Needs::Any,
            unclassified::<B>,
        ),
        named::<B, _>("outage_of_the_database", Needs::Any, classified::<B>),
        named::<B, _>(
            "consumer_killed_in_an_outage",
            Needs::Any,
            consumer_killed::<B>,
        ),
    ]);
    if B::OUTLIVES {
        let killed = broker_killed::<B>;
        tests.push(named::<B, _>(
            "broker_killed_in_an_outage",
            Needs::Own,
            killed,
        ));
    }
    tests
}

fn named<B: Broker, T>(
    name: &str,
    needs: Needs,
    test: impl FnOnce(Arc<Server>) -> T + Send + 'static,
) -> Trial
where
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let name = format!("{}::{name}", B::NAME);
    trial_beside(name, B::KIND, needs, BESIDE, test)
}

/// Nothing says which errors are outages.
async fn unclassified<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    comes_back::<B>(server, Kind::Unclassified).await
}

async fn classified<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    comes_back::<B>(server, Kind::Classified).await
}

/// No good order becomes a letter, and each is sold once. People get two mails and a short log.
async fn comes_back<B: Broker>(server: Arc<Server>, kind: Kind) -> anyhow::Result<()> {
    let mut world = World::<B>::start(&server, kind, 100, true).await?;
    world.goes_away_after(50).await?;
    world.is_paused().await?;
    world.comes_back().await
}

/// The service dies as the database goes away, and in the pause.
async fn consumer_killed<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let mut world = World::<B>::start(&server, Kind::Classified, 100, true).await?;
    world.goes_away_after(50).await?;
    world.is_killed_and_starts_again(&server);
    world.is_paused().await?;
    world.is_killed_and_starts_again(&server);
    world.more_orders_come().await?;
    world.comes_back().await
}

/// The broker dies while the service holds its messages.
async fn broker_killed<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let mut world = World::<B>::start(&server, Kind::Classified, 100, true).await?;
    world.goes_away_after(50).await?;
    world.is_paused().await?;
    server.kill()?;
    server.restart().await?;
    world.more_orders_come().await?;
    world.comes_back().await
}
