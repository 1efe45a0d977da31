//! Tests of consumer groups.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use idem_brokers::kafka::{self, Kafka};
use idem_brokers::{Consumer, Delivery, Message, Session, Source};
use idem_test_support::servers::Server;
use idem_test_support::within;
use tokio::sync::Semaphore;

use super::Topic;
use crate::broker::{Broker, Stage, until};
use crate::shop::{PlaceOrder, place};
use crate::watched::watched;

/// A member, and its deliveries.
struct Member {
    session: kafka::Session,
    handed: Vec<kafka::Delivery>,
}

impl Member {
    async fn join(source: &Kafka) -> anyhow::Result<Self> {
        Ok(Self {
            session: within(source.connect(100)).await?,
            handed: Vec::new(),
        })
    }

    async fn next(&mut self) -> anyhow::Result<()> {
        self.handed.push(within(self.session.next(100)).await?);
        Ok(())
    }
}

/// Returns the positions of deliveries.
fn places<'a>(records: impl IntoIterator<Item = &'a kafka::Delivery>) -> BTreeSet<String> {
    records
        .into_iter()
        .filter_map(|record| record.origin().position)
        .collect()
}

/// Sends messages to every partition, and returns how many.
async fn fill<const REAL: bool>(stage: &Stage<Topic<REAL>>) -> anyhow::Result<usize> {
    for number in 0..40 {
        let order = PlaceOrder::new(format!("A-{number:04}"));
        stage
            .publish(order.message(&stage.name).ordering_key(number.to_string()))
            .await?;
    }
    Ok(40)
}

/// Another consumer joins: messages in progress are not committed, and redelivered.
pub(super) async fn rebalance<const REAL: bool>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<Topic<REAL>>::new(&server).await?;
    let all = fill(&stage).await?;
    let source = stage.broker.source();
    let mut first = Member::join(&source).await?;
    for _ in 0..all {
        first.next().await?;
    }
    let everything = places(&first.handed);
    ensure!(everything.len() == all, "each came once: {everything:?}");
    let before = std::mem::take(&mut first.handed);

    let mut second = Member::join(&source).await?;
    while second.handed.is_empty() {
        one_more(&mut first, &mut second).await?;
    }
    for old in before {
        ensure!(old.ack().await.is_err(), "an ack for a revoked partition");
    }
    ensure!(
        within(stage.broker.left()).await? == all as u64,
        "an old ack was committed"
    );
    let mut acked = BTreeSet::new();
    loop {
        // The group may have rebalanced once more.
        for record in first.handed.drain(..).chain(second.handed.drain(..)) {
            let place = places([&record]);
            if record.ack().await.is_ok() {
                acked.extend(place);
            }
        }
        if acked == everything {
            break;
        }
        one_more(&mut first, &mut second).await?;
    }
    committed(&stage).await?;
    for member in [first, second] {
        within(member.session.close()).await;
    }
    stage.is_clean().await
}

/// Waits for one more message to any member.
async fn one_more(first: &mut Member, second: &mut Member) -> anyhow::Result<()> {
    let came = async {
        tokio::select! {
            came = first.session.next(100) => first.handed.push(came?),
            came = second.session.next(100) => second.handed.push(came?),
        }
        anyhow::Ok(())
    };
    within(came).await
}

/// Waits until the members have committed everything: a commit during another member's end is
/// lost.
async fn committed<const REAL: bool>(stage: &Stage<Topic<REAL>>) -> anyhow::Result<()> {
    let committed = async {
        while stage.broker.left().await? > 0 {}
        Ok(())
    };
    within(committed).await
}

/// A cooperative rebalance revokes only the partitions that move.
pub(super) async fn cooperative<const REAL: bool>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<Topic<REAL>>::new(&server).await?;
    let all = fill(&stage).await?;
    let source = stage
        .broker
        .source()
        .set("partition.assignment.strategy", "cooperative-sticky");
    let mut first = Member::join(&source).await?;
    for _ in 0..all {
        first.next().await?;
    }
    let mut second = Member::join(&source).await?;
    second.next().await?;
    let (mut kept, mut lost) = (0, BTreeSet::new());
    for record in first.handed.drain(..) {
        let place = places([&record]);
        if record.ack().await.is_ok() {
            kept += 1;
        } else {
            lost.extend(place);
        }
    }
    ensure!(
        kept > 0 && !lost.is_empty(),
        "it kept {kept} and lost {}",
        lost.len()
    );
    while places(&second.handed) != lost {
        second.next().await?;
    }
    for record in second.handed.drain(..) {
        record.ack().await?;
    }
    committed(&stage).await?;
    for member in [first, second] {
        within(member.session.close()).await;
    }
    stage.is_clean().await
}

/// Handlers run longer than the group waits for a poll.
pub(super) async fn slow_handlers<const REAL: bool>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<Topic<REAL>>::new(&server).await?;
    let interval = Duration::from_secs(3);
    let source = stage
        .broker
        .source()
        .set("max.poll.interval.ms", interval.as_millis().to_string());
    stage.send_all(0..3).await?;
    let ((source, counts), shop) = (watched(source), Arc::clone(&stage.shop));
    let (go_on, inside) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (on, entered) = (Arc::clone(&go_on), Arc::clone(&inside));
    let consumer =
        Consumer::new(&stage.idem, source)
            .in_flight(1)
            .start(move |order: PlaceOrder| {
                let (shop, on, entered) =
                    (Arc::clone(&shop), Arc::clone(&on), Arc::clone(&entered));
                async move {
                    entered.add_permits(1);
                    let _ = on.acquire().await;
                    place(shop, order).await
                }
            });
    within(inside.acquire()).await?.forget();
    // The time itself has to pass.
    tokio::time::sleep(2 * interval).await;
    go_on.add_permits(100);
    until("all are acked", || counts.acked() == 3).await?;
    ensure!(counts.came() == 3, "{counts:?}");
    stage.stop(consumer).await;
    stage.is_clean().await
}

/// Finished messages after an unfinished one are not committed, also while it is in a pause.
pub(super) async fn unfinished<const REAL: bool>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<Topic<REAL>>::new(&server).await?;
    for number in 0..10 {
        // One ordering key is one partition.
        stage
            .publish(
                PlaceOrder::new(format!("A-{number:04}"))
                    .message(&stage.name)
                    .ordering_key("Ann"),
            )
            .await?;
    }
    let mut member = Member::join(&stage.broker.source()).await?;
    for _ in 0..10 {
        member.next().await?;
    }
    for (number, record) in member.handed.into_iter().enumerate() {
        match number {
            3 => record.retry(Duration::from_secs(3600)).await?,
            _ => record.ack().await?,
        }
    }
    within(member.session.close()).await;
    let left = within(stage.broker.left()).await?;
    ensure!(
        left == 7,
        "{left} are left, and the fourth is to be the first of them"
    );

    let mut member = Member::join(&stage.broker.source()).await?;
    for _ in 0..7 {
        member.next().await?;
    }
    for (number, record) in member.handed.into_iter().enumerate() {
        match number {
            // Its pause ends at once.
            0 => record.retry(Duration::ZERO).await?,
            _ => record.ack().await?,
        }
    }
    let again = within(member.session.next(100)).await?;
    ensure!(again.redelivered() == Some(1), "{again:?}");
    again.ack().await?;
    within(member.session.close()).await;
    stage.is_clean().await
}

/// A message keeps its key and its partition when it is republished with the headers of its
/// origin.
pub(super) async fn key<const REAL: bool>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<Topic<REAL>>::new(&server).await?;
    let mut member = Member::join(&stage.broker.source()).await?;
    stage
        .publish(
            Message::new(&stage.name, "1")
                .ordering_key("Ann")
                .id("m-17")
                .header("trace", "17"),
        )
        .await?;
    member.next().await?;
    let first = member.handed[0].origin();
    ensure!(first.message_id.as_deref() == Some("m-17"), "{first:?}");
    let headers =
        [("key", "Ann"), ("trace", "17")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    ensure!(first.headers == headers, "{first:?}");

    let mut back = Message::new(&stage.name, "2");
    back.headers = first.headers.clone();
    stage.publish(back).await?;
    member.next().await?;
    let second = member.handed[1].origin();
    let partition = |position: &Option<String>| {
        position
            .as_ref()
            .and_then(|text| text.split(',').next().map(str::to_owned))
    };
    ensure!(second.headers == first.headers, "{second:?}");
    ensure!(
        partition(&second.position) == partition(&first.position),
        "{first:?} and {second:?}"
    );
    within(member.session.close()).await;
    Ok(())
}

pub(super) async fn no_such_topic<const REAL: bool>(server: Arc<Server>) -> anyhow::Result<()> {
    let error = Kafka::topic(server.address(), "there-is-none")
        .connect(1)
        .await;
    let text = error
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(text.contains("there-is-none"), "{text:?}");
    Ok(())
}
