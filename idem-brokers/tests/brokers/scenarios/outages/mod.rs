//! The business's database is away for a while.

mod measured;
mod world;

use std::sync::Arc;

use idem_test_support::servers::{Needs, POSTGRES, Server, trial_beside};
use libtest_mimic::Trial;

use crate::broker::{Broker, until};
use crate::service::Kind;
use world::World;

pub(super) fn all<B: Broker>() -> Vec<Trial> {
    let mut tests = measured::all::<B>();
    tests.extend([
        named::<B, _>("everything_fails_for_a_while", unclassified::<B>),
        named::<B, _>("outage_of_the_database", classified::<B>),
        named::<B, _>("consumer_killed_in_an_outage", consumer_killed::<B>),
    ]);
    tests
}

fn named<B: Broker, T>(name: &str, test: impl FnOnce(Arc<Server>) -> T + Send + 'static) -> Trial
where
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let name = format!("{}::{name}", B::NAME);
    trial_beside(name, B::KIND, Needs::Any, &[&POSTGRES], test)
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
    world.until_sold(50).await?;
    world.database.shut_down("INT")?;
    world.is_told("[idem] shop: orders.sell is paused").await?;
    let sent = world.stream.sent();
    until("more orders come", || world.stream.sent() > sent + 200).await?;
    world.database.restart().await?;
    world
        .is_told("[idem] shop: orders.sell is no longer paused")
        .await?;
    world.ends().await
}

/// The service dies as the database goes away, and in the pause.
async fn consumer_killed<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let mut world = World::<B>::start(&server, Kind::Classified, 100, true).await?;
    world.until_sold(50).await?;
    world.database.shut_down("INT")?;
    world.is_killed_and_starts_again(&server);
    world.is_told("[idem] shop: orders.sell is paused").await?;
    world.is_killed_and_starts_again(&server);
    let sent = world.stream.sent();
    until("more orders come", || world.stream.sent() > sent + 200).await?;
    world.database.restart().await?;
    world
        .is_told("[idem] shop: orders.sell is no longer paused")
        .await?;
    world.ends().await
}
