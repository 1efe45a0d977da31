//! Producers that send once.

use std::sync::Arc;

use anyhow::ensure;
use idem_brokers::Consumer;
use idem_test_support::servers::Server;

use crate::broker::{Broker, Stage, until};
use crate::child::{self, Job};
use crate::scenarios::causes::drain;
use crate::shop::{ACCEPTED, PlaceOrder, place};
use crate::watched::watched;

const KILLS: usize = 4;

/// A producer accepts orders, and its relay publishes them, while it is killed repeatedly. Each
/// order is placed once, and those of one customer in the order in which they were accepted.
pub(super) async fn killed_with_an_outbox<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    let ((source, _), shop) = (watched(stage.broker.source()), Arc::clone(&stage.shop));
    let consumer = Consumer::new(&stage.idem, source).keyed();
    let consumer = consumer.start(move |order: PlaceOrder| place(Arc::clone(&shop), order));
    let start = || {
        child::start::<B>(
            server.address(),
            &stage.name,
            stage.folder.path(),
            Job::Produce,
        )
    };
    let mut producer = start();
    for kill in 1..=KILLS {
        let more = kill * ACCEPTED / (KILLS + 2);
        until("more are placed", || stage.shop.placed() >= more).await?;
        producer.kill();
        producer = start();
    }
    until("all are sent", || stage.shop.marked("sent").is_some()).await?;
    producer.stop().await?;
    until("all are placed", || stage.shop.placed() == ACCEPTED).await?;
    stage.stop(consumer).await;
    drain(&stage).await?;
    ensure!(
        stage.shop.all_starts() == ACCEPTED as u64,
        "bodies ran {} times",
        stage.shop.all_starts()
    );
    stage.shop.orders_are_in_sequence()?;
    stage.is_clean().await
}
