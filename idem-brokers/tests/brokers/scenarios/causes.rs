//! Causes of duplicate deliveries.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use idem_test_support::servers::Server;
use idem_test_support::within;

use crate::broker::{Broker, Stage, until};
use crate::child::{self, Job};
use crate::shop::PlaceOrder;

pub(super) async fn resent_by_the_producer<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    let order = PlaceOrder::new("A-1001");
    // Some brokers recognise copies by the id, so there is none.
    let copy = idem_brokers::Message::new(&stage.name, serde_json::to_vec(&order)?);
    for _ in 0..5 {
        stage.publish(copy.clone()).await?;
    }
    let (consumer, counts) = stage.consume();
    until("all copies are acked", || counts.acked() == 5).await?;
    stage.stop(consumer).await;
    ensure!(
        stage.shop.starts("A-1001") == 1 && stage.shop.placed() == 1,
        "it ran {}",
        stage.shop.starts("A-1001")
    );
    stage.is_clean().await
}

/// The broker is restored to its state before the first ack.
pub(super) async fn broker_killed_and_restarted<B: Broker>(
    server: Arc<Server>,
) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    stage.send_all(0..40).await?;
    let before = stage.broker.keep(&server).await?;

    let (mut consumer, mut counts) = stage.consume();
    until("some are placed", || stage.shop.placed() > 5).await?;
    server.kill()?;
    server.restart().await?;
    until("all are placed", || stage.shop.placed() == 40).await?;
    let mut came = counts.came();
    if B::CLIENT_KNOWS {
        // It stops while the broker is down.
        server.kill()?;
        stage.stop(consumer).await;
        stage.broker.go_back(&server, before).await?;
        (consumer, counts) = stage.consume();
        came = 0;
    } else {
        stage.broker.go_back(&server, before).await?;
    }
    until("all came again", || counts.came() >= came + 40).await?;
    stage.stop(consumer).await;
    drain(&stage).await?;
    ensure!(
        stage.shop.all_starts() == 40,
        "bodies ran {} times",
        stage.shop.all_starts()
    );
    stage.is_clean().await
}

/// The order is in the table, and not recorded in the ledger.
pub(super) async fn consumer_killed_in_the_body<B: Broker>(
    server: Arc<Server>,
) -> anyhow::Result<()> {
    killed::<B>(&server, Job::HangsInTheBody, "in_the_body").await
}

/// The result is recorded, and the message is not acked.
pub(super) async fn consumer_killed_before_the_ack<B: Broker>(
    server: Arc<Server>,
) -> anyhow::Result<()> {
    killed::<B>(&server, Job::HangsBeforeTheAck, "before_the_ack").await
}

async fn killed<B: Broker>(server: &Server, handler: Job, mark: &str) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(server).await?;
    let folder = stage.folder.path();
    stage.send(&PlaceOrder::new("A-1001")).await?;
    let first = child::start::<B>(server.address(), &stage.name, folder, handler);
    until("the order is in the table", || {
        stage.shop.marked(mark).is_some()
    })
    .await?;
    first.kill();
    ensure!(stage.shop.placed() == 1, "it was placed before the kill");

    let second = child::start::<B>(server.address(), &stage.name, folder, Job::Consume);
    stage.send(&PlaceOrder::new("A-1002")).await?;
    until("the other order is placed", || stage.shop.placed() == 2).await?;
    // The broker decides when the message of the dead consumer is redelivered.
    let deadline = tokio::time::Instant::now() + idem_test_support::DEADLINE;
    let (mut second, mut stays) = (Some(second), Duration::from_millis(500));
    loop {
        if let Some(second) = second.take() {
            second.stop().await?;
        }
        if within(stage.broker.left()).await? == 0 {
            break;
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "the message of the killed consumer stays"
        );
        let next = child::start::<B>(server.address(), &stage.name, folder, Job::Consume);
        tokio::time::sleep(stays).await;
        // A group that rebalances with every member needs one that stays.
        (second, stays) = (Some(next), 2 * stays);
    }
    ensure!(
        stage.shop.starts("A-1001") == 1,
        "the body ran {} times",
        stage.shop.starts("A-1001")
    );
    stage.is_clean().await
}

pub(super) async fn network_cut_in_the_middle<B: Broker>(
    server: Arc<Server>,
) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    let wire = server.wire().await?;
    let through = B::new(wire.address(), &stage.name);
    let (consumer, _) = stage.consume_from(through.source());
    for round in 0..3 {
        let (first, last) = (round * 40, round * 40 + 40);
        stage.send_all(first..last).await?;
        until("some are placed", || stage.shop.placed() > first as usize).await?;
        wire.cut()?;
        until("the delivered messages are done", || {
            stage.shop.all_starts() == stage.shop.placed() as u64
        })
        .await?;
        wire.mend()?;
        until("all are placed", || stage.shop.placed() == last as usize).await?;
    }
    stage.stop(consumer).await;
    // The next consumer gets the messages whose acks were lost.
    drain(&stage).await?;
    ensure!(
        stage.shop.all_starts() == 120,
        "bodies ran {} times",
        stage.shop.all_starts()
    );
    stage.is_clean().await
}

pub(super) async fn offsets_rewound<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let mut stage = Stage::<B>::new(&server).await?;
    stage.send_all(0..50).await?;
    let (consumer, counts) = stage.consume();
    until("all are acked", || counts.acked() == 50).await?;
    stage.stop(consumer).await;
    within(stage.broker.rewind()).await?;
    let (consumer, counts) = stage.consume();
    until("all came again", || counts.acked() == 50).await?;
    stage.stop(consumer).await;
    ensure!(
        stage.shop.placed() == 50 && stage.shop.all_starts() == 50,
        "a replay had an effect"
    );
    stage.is_clean().await
}

/// Runs a consumer until no message is left.
pub(crate) async fn drain<B: Broker>(stage: &Stage<B>) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + idem_test_support::DEADLINE;
    let mut stays = Duration::from_secs(1);
    while within(stage.broker.left()).await? > 0 {
        ensure!(tokio::time::Instant::now() < deadline, "messages stay");
        let (consumer, counts) = stage.consume();
        let _ = tokio::time::timeout(stays, until("one more", || counts.acked() > 0)).await;
        stage.stop(consumer).await;
        stays *= 2;
    }
    Ok(())
}
