//! A paused handler in a consumer group.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use idem_test_support::servers::Server;

use super::Topic;
use crate::broker::{Broker, Stage, until};
use crate::scenarios::causes::drain;

/// A consumer whose prefetch is full stays in its group, though it takes no message for longer than
/// the group waits for a poll.
pub(super) async fn longer_than_the_poll_interval<const REAL: bool>(
    server: Arc<Server>,
) -> anyhow::Result<()> {
    let stage = Stage::<Topic<REAL>>::new(&server).await?;
    let interval = Duration::from_secs(3);
    let interval_ms = interval.as_millis().to_string();
    let source = stage
        .broker
        .source()
        .set("max.poll.interval.ms", interval_ms);
    stage.pause().await?;
    let sent = stage.send_of(&["Ann", "Bob", "Eve"], 60).await?;
    let (consumer, counts) = stage.consume_in_order(source);
    until("as many are held as may be", || counts.came() == 31).await?;
    // The time itself has to pass.
    tokio::time::sleep(2 * interval).await;
    stage.resume().await?;
    until("all are acked", || counts.acked() == 60).await?;
    ensure!(counts.came() == 60, "it left the group: {counts:?}");
    stage.stop(consumer).await;
    ensure!(
        stage.shop.by_customer() == sent,
        "{:?}",
        stage.shop.by_customer()
    );
    stage.is_clean().await
}

/// Another consumer joins while the first one holds messages of partitions that move to it.
pub(super) async fn rebalance<const REAL: bool>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<Topic<REAL>>::new(&server).await?;
    stage.pause().await?;
    let customers = ["Ann", "Bob", "Eve", "Tim", "Uma", "Ida"];
    let sent = stage.send_of(&customers, 60).await?;
    let (first, of_first) = stage.consume_in_order(stage.broker.source());
    until("as many are held as may be", || of_first.came() == 31).await?;
    let (second, of_second) = stage.consume_in_order(stage.broker.source());
    until("partitions move", || of_second.came() > 0).await?;
    stage.resume().await?;
    until("all are placed", || stage.shop.placed() == 60).await?;
    for consumer in [first, second] {
        stage.stop(consumer).await;
    }
    drain(&stage).await?;
    ensure!(
        stage.shop.all_starts() == 60,
        "bodies ran {} times",
        stage.shop.all_starts()
    );
    ensure!(
        stage.shop.by_customer() == sent,
        "{:?}",
        stage.shop.by_customer()
    );
    stage.is_clean().await
}
