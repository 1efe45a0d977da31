//! Messages that fail, for a while or for good.

use std::sync::Arc;

use anyhow::{Context, ensure};
use idem_brokers::{Consumer, Message};
use idem_runtime::{Filter, dead_letters::Reason, json::Json};
use idem_test_support::servers::Server;

use crate::broker::{Broker, Stage, until};
use crate::shop::{PlaceOrder, place_inline};
use crate::watched::watched;

pub(super) async fn fails_redelivered<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    send_failing(&stage).await?;
    let (consumer, counts) = stage.consume();
    until("both are acked", || counts.acked() == 2).await?;
    stage.stop(consumer).await;
    // Two failed attempts of the one, three of the other, whose fourth wrote the letter.
    ensure!(counts.again() == 5, "given back {} times", counts.again());
    has_failed(&stage).await
}

pub(super) async fn fails_inline<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    send_failing(&stage).await?;
    let ((source, counts), shop) = (watched(stage.broker.source()), Arc::clone(&stage.shop));
    let consumer = Consumer::new(&stage.idem, source);
    let consumer = consumer.start(move |order: PlaceOrder| place_inline(Arc::clone(&shop), order));
    until("both are acked", || counts.acked() == 2).await?;
    stage.stop(consumer).await;
    ensure!(
        counts.came() == 2 && counts.again() == 0,
        "it came {} times",
        counts.came()
    );
    has_failed(&stage).await
}

async fn send_failing<B: Broker>(stage: &Stage<B>) -> anyhow::Result<()> {
    stage.send(&PlaceOrder::new("A-1001").failing(2)).await?;
    stage.send(&PlaceOrder::new("A-1002").failing(99)).await
}

async fn has_failed<B: Broker>(stage: &Stage<B>) -> anyhow::Result<()> {
    let starts = ["A-1001", "A-1002"].map(|order_no| stage.shop.starts(order_no));
    ensure!(starts == [3, 4], "attempts: {starts:?}");
    let letters = stage.idem.dead_letters().list(&Filter::default()).await?;
    ensure!(
        letters.len() == 1 && letters[0].key == "A-1002",
        "{letters:?}"
    );
    let origin = letters[0]
        .origin
        .as_ref()
        .map(|origin| origin.source.as_str());
    ensure!(
        origin == Some(stage.name.as_str()),
        "the letter's origin is {origin:?}"
    );
    stage.is_clean().await
}

pub(super) async fn undecodable<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    // Without an id, so that the broker does not drop the copy.
    for _ in 0..2 {
        stage
            .publish(Message::new(&stage.name, [0xff, 0x00, b'{']))
            .await?;
    }
    stage
        .publish(Message::new(&stage.name, "no order").header("trace", "17"))
        .await?;
    stage.send(&PlaceOrder::new("A-1001")).await?;
    let (consumer, counts) = stage.consume();
    until("all are acked", || counts.acked() == 4).await?;
    let letters = stage.idem.dead_letters().list(&Filter::default()).await?;
    ensure!(letters.len() == 2, "{letters:?}");
    let text = letters
        .iter()
        .find(|letter| letter.payload == "no order".into())
        .context("no letter of the text")?;
    let headers = text.origin.as_ref().map(|origin| &origin.headers[..]);
    ensure!(
        headers == Some(&[("trace".to_owned(), "17".to_owned())]),
        "{letters:?}"
    );
    // The consumer sends it back to where it came from.
    let by_ann = stage.idem.dead_letters().by("ann");
    let order = serde_json::to_value(PlaceOrder::new("A-1002"))?;
    by_ann.edit(&text.id, order, "an order was meant").await?;
    by_ann.republish(&text.id).await?;
    until("it came back", || counts.acked() == 5).await?;
    stage.stop(consumer).await;
    ensure!(
        letters
            .iter()
            .all(|letter| letter.reason == Reason::Undecodable),
        "{letters:?}"
    );
    ensure!(
        stage.shop.placed() == 2,
        "the good one beside them and the one that came back are placed"
    );
    stage.is_clean().await
}

/// Another order with a number that was used.
pub(super) async fn key_reused<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    let (first, other) = (
        PlaceOrder::new("A-1001"),
        PlaceOrder::new("A-1001").by("Bob"),
    );
    stage
        .publish(Message::new(&stage.name, serde_json::to_vec(&first)?))
        .await?;
    let (consumer, counts) = stage.consume();
    until("the first is acked", || counts.acked() == 1).await?;
    for _ in 0..2 {
        stage
            .publish(Message::new(&stage.name, serde_json::to_vec(&other)?))
            .await?;
    }
    until("the others are acked", || counts.acked() == 3).await?;
    stage.stop(consumer).await;
    let letters = stage.idem.dead_letters().list(&Filter::default()).await?;
    let bytes = Json::from(serde_json::to_string(&other)?);
    ensure!(
        letters.len() == 1 && letters[0].payload == bytes,
        "{letters:?}"
    );
    ensure!(
        (letters[0].reason, letters[0].key.as_str()) == (Reason::KeyReused, "A-1001"),
        "{letters:?}"
    );
    ensure!(
        stage.shop.all_starts() == 1,
        "the body ran {} times",
        stage.shop.all_starts()
    );
    stage.is_clean().await
}
