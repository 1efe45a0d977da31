//! Groups of consumers, stopping, and the order of messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use idem_brokers::Consumer;
use idem_test_support::servers::Server;
use idem_test_support::{DEADLINE, within};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::broker::{Broker, Stage, publish, until};
use crate::child::{self, Job};
use crate::scenarios::causes::drain;
use crate::shop::{PlaceOrder, Shop, place};
use crate::watched::watched;

/// A consumer joins while another works, which leaves then.
pub(super) async fn two_in_one_group<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    let (first, of_first) = stage.consume();
    stage.send_all(0..50).await?;
    until("the first works", || of_first.acked() > 0).await?;
    let (second, of_second) = stage.consume();
    ensure!(
        within(second.taking()).await,
        "the second consumer takes messages"
    );
    let (mut next, deadline) = (50, Instant::now() + DEADLINE);
    while of_second.acked() == 0 {
        ensure!(
            Instant::now() < deadline,
            "the second consumer gets no messages"
        );
        stage.send_all(next..next + 10).await?;
        next += 10;
        // Some brokers rebalance at once, and Kafka takes seconds.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.stop(first).await;
    stage.send_all(next..next + 50).await?;
    until("all are placed", || {
        stage.shop.placed() == next as usize + 50
    })
    .await?;
    stage.stop(second).await;
    drain(&stage).await?;
    ensure!(
        stage.shop.all_starts() == u64::from(next) + 50,
        "bodies ran {} times",
        stage.shop.all_starts()
    );
    stage.is_clean().await
}

/// The first start creates the queue, the group and the delay queue, and logs no error.
pub(super) async fn first_start<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let (name, folder) = (
        format!("orders-{:08x}", fastrand::u32(..)),
        tempfile::tempdir()?,
    );
    let (broker, shop) = (B::new(server.address(), &name), Shop::at(folder.path()));
    let child = child::start::<B>(server.address(), &name, folder.path(), Job::FirstStart);
    // An order that fails, waits for its next attempt, and is placed then.
    let order = PlaceOrder::new("A-1001").failing(1);
    publish(&broker.publisher(), order.message(&name)).await?;
    until("the order is placed", || shop.placed() == 1).await?;
    child.stop().await?;
    let errors = std::fs::read_to_string(folder.path().join(child::LOG))?;
    ensure!(errors.is_empty(), "errors were logged:\n{errors}");
    Ok(())
}

pub(super) async fn shutdown<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    for order_no in ["ends", "hangs"] {
        stage.send(&PlaceOrder::new(order_no)).await?;
    }
    let ((source, counts), shop) = (watched(stage.broker.source()), Arc::clone(&stage.shop));
    let (go_on, inside) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (on, entered) = (Arc::clone(&go_on), Arc::clone(&inside));
    // With two in flight, two calls run, a third message waits, and a fourth stays in the broker.
    let consumer =
        Consumer::new(&stage.idem, source)
            .in_flight(2)
            .start(move |order: PlaceOrder| {
                let (shop, on, entered) =
                    (Arc::clone(&shop), Arc::clone(&on), Arc::clone(&entered));
                async move {
                    entered.add_permits(1);
                    match order.order_no.as_str() {
                        "ends" => on.notified().await,
                        _ => std::future::pending().await,
                    }
                    place(shop, order).await
                }
            });
    within(inside.acquire_many(2)).await?.forget();
    stage.send(&PlaceOrder::new("waits")).await?;
    until("one message waits for a call", || counts.came() == 3).await?;
    stage.send(&PlaceOrder::new("stays")).await?;
    let stopping = tokio::spawn(consumer.stop(Duration::from_secs(2)));
    go_on.notify_one();
    within(stopping).await?;
    ensure!(
        counts.acked() == 1 && stage.shop.starts("ends") == 1,
        "{counts:?}"
    );
    ensure!(
        counts.again() == 2,
        "the unfinished call and the waiting message were given back: {counts:?}"
    );
    ensure!(
        stage.shop.starts("waits") == 0,
        "no call begins once the consumer stops"
    );
    ensure!(
        within(stage.broker.left()).await? == 3,
        "three messages are in the broker again"
    );

    let (consumer, counts) = stage.consume();
    until("all are acked", || counts.acked() == 3).await?;
    stage.stop(consumer).await;
    ensure!(
        stage.shop.all_starts() == 4 && stage.shop.placed() == 4,
        "each ran once"
    );
    stage.is_clean().await
}

pub(super) async fn order_per_key<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    let mut sent: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0..60 {
        let customer = ["Ann", "Bob", "Eve"][number % 3];
        // Some fail at first, and those behind them have to wait.
        let fails = u32::from(number % 7 == 0);
        let order = PlaceOrder::new(format!("A-{number:04}"))
            .by(customer)
            .failing(fails);
        sent.entry(customer.to_owned())
            .or_default()
            .push(order.order_no.clone());
        stage
            .publish(order.message(&stage.name).ordering_key(customer))
            .await?;
    }
    let ((source, counts), shop) = (watched(stage.broker.source()), Arc::clone(&stage.shop));
    let consumer = Consumer::new(&stage.idem, source)
        .in_flight(16)
        .ordered_by(|order: &PlaceOrder| order.customer.clone())
        .start(move |order: PlaceOrder| place(Arc::clone(&shop), order));
    until("all are acked", || counts.acked() == 60).await?;
    stage.stop(consumer).await;
    ensure!(
        stage.shop.by_customer() == sent,
        "{:?}",
        stage.shop.by_customer()
    );
    stage.is_clean().await
}
