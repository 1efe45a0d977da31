//! What an outage of a minute costs, as a row for each broker: letters, lines of log, mails, and the
//! time from the database's return to the first order and to full speed. `cargo test -p idem-brokers --all-features
//! --test brokers outage_of_a_minute -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use idem_test_support::servers::{Needs, Server};
use libtest_mimic::Trial;

use super::named;
use super::world::World;
use crate::broker::Broker;
use crate::service::Kind;

const PER_SECOND: u32 = 45;
const AWAY: Duration = Duration::from_secs(60);

pub(super) fn all<B: Broker>() -> Vec<Trial> {
    let run = |what, kind| {
        let name = format!("outage_of_a_minute_{what}");
        named::<B, _>(&name, Needs::Any, move |server| {
            measured::<B>(server, what, kind)
        })
        .with_ignored_flag(true)
    };
    vec![
        run("never_pauses", Kind::NeverPauses),
        run("unclassified", Kind::Unclassified),
        run("classified", Kind::Classified),
    ]
}

async fn measured<B: Broker>(server: Arc<Server>, what: &str, kind: Kind) -> anyhow::Result<()> {
    let mut world = World::<B>::start(&server, kind, PER_SECOND, false).await?;
    world.goes_away_after(10 * PER_SECOND as usize).await?;
    tokio::time::sleep(AWAY).await;
    world.database_returns().await?;
    let back = Instant::now();
    let sold = world.sold().await?;
    world.until_sold(sold + 1).await?;
    let first = back.elapsed();
    // Full speed: fewer are open than come in a second.
    while world.open().await? >= PER_SECOND as usize {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let drained = back.elapsed();
    // Its last mail may take some seconds.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let sent = world.stream.stop().await?;
    while world.open().await? > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.stop().await?;
    println!(
        "| {} | {what} | {sent} | {} | {} | {} | {:.1} s | {:.1} s |",
        B::NAME,
        world.letters(),
        world.log()?.lines().count(),
        world.mails(),
        first.as_secs_f64(),
        drained.as_secs_f64(),
    );
    Ok(())
}
