//! All causes at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use idem_brokers::{Consumer, Message};
use idem_runtime::{Filter, Idem};
use idem_test_support::servers::Server;
use idem_test_support::within;
use tokio::time::Instant;

use crate::broker::{Broker, Stage, publish, until};
use crate::child::{self, Job, Process};
use crate::scenarios::causes::drain;
use crate::shop::{ACCEPTED, PlaceOrder, place};
use crate::watched::watched;

const MESSAGES: u32 = 2000;
/// One of so many orders can never be placed: ten of them come last, and twelve would pause the handler.
const UNPLACEABLE: u32 = 140;
const KILLS: usize = 8;

/// Sends 2,000 messages, 30 % of them duplicates, some malformed or impossible to place. The
/// consumer is killed at random, and once the broker, if its messages survive that. A producer's outbox
/// is relayed to a queue of its own meanwhile: it is killed, too, and its messages are read at the
/// end and have to be in order.
pub(crate) async fn storm<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let (stage, relayed) = (
        Stage::<B>::new(&server).await?,
        Stage::<B>::new(&server).await?,
    );
    let (messages, orders, letters) = messages(&stage.name);
    println!("{} orders, {letters} of them unplaceable", orders + letters);
    let publisher = stage.broker.publisher();
    let sending = tokio::spawn(async move {
        for message in messages {
            publish(&publisher, message).await?;
        }
        anyhow::Ok(())
    });

    let start = || {
        child::start::<B>(
            server.address(),
            &stage.name,
            stage.folder.path(),
            Job::Consume,
        )
    };
    let produce = || {
        child::start::<B>(
            server.address(),
            &relayed.name,
            relayed.folder.path(),
            Job::Produce,
        )
    };
    let (mut consumer, mut producer) = (start(), produce());
    for kill in 0..KILLS {
        let more = stage.shop.placed() + fastrand::usize(1..orders / (2 * KILLS));
        until("more are placed", || {
            stage.shop.placed() >= more.min(orders)
        })
        .await?;
        if B::OUTLIVES && kill == KILLS / 2 {
            server.kill()?;
            server.restart().await?;
        } else {
            consumer.kill();
            consumer = start();
        }
        producer.kill();
        producer = produce();
    }
    sending.await??;
    until("all are placed", || stage.shop.placed() == orders).await?;
    // The child reports its letters. The broker decides when a dead consumer's messages are
    // redelivered.
    let wanted = letters.to_string();
    until("all letters are written", || {
        stage.shop.marked("letters").as_deref() == Some(&wanted)
    })
    .await?;
    let deadline = Instant::now() + 2 * idem_test_support::DEADLINE;
    let mut stays = Duration::from_secs(1);
    loop {
        consumer.stop().await?;
        let left = within(stage.broker.left()).await?;
        if left == 0 {
            break;
        }
        ensure!(Instant::now() < deadline, "{left} messages stay");
        consumer = start();
        tokio::time::sleep(stays).await;
        stays *= 2;
    }
    let idem = Idem::open(stage.folder.path().join("ledger"))?;
    let open = idem
        .dead_letters()
        .list(&Filter::default().limit(1000))
        .await?;
    ensure!(
        open.len() == letters,
        "{} letters for {letters}",
        open.len()
    );
    ensure!(
        stage.shop.placed() == orders,
        "{} orders of {orders}",
        stage.shop.placed()
    );
    idem.close().await?;
    stage.is_clean().await?;
    orders_are_in_sequence(relayed, producer).await
}

/// The queue has had no consumer, so it holds the relay's messages as they were published: the
/// first copy of each order is placed, and the others are recognised by their key.
async fn orders_are_in_sequence<B: Broker>(
    stage: Stage<B>,
    producer: Process,
) -> anyhow::Result<()> {
    until("all is relayed", || stage.shop.marked("sent").is_some()).await?;
    producer.stop().await?;
    let ((source, _), shop) = (watched(stage.broker.source()), Arc::clone(&stage.shop));
    let consumer = Consumer::new(&stage.idem, source).keyed();
    let consumer = consumer.start(move |order: PlaceOrder| place(Arc::clone(&shop), order));
    until("all relayed orders are placed", || {
        stage.shop.placed() == ACCEPTED
    })
    .await?;
    stage.stop(consumer).await;
    stage.shop.orders_are_in_sequence()?;
    drain(&stage).await?;
    stage.is_clean().await
}

/// The messages, and the numbers of orders that will be placed and of letters.
fn messages(to: &str) -> (Vec<Message>, usize, usize) {
    let different = MESSAGES * 7 / 10;
    let mut messages: Vec<_> = (0..different)
        .map(|number| match number % UNPLACEABLE {
            7 => Message::new(to, format!("no order {number}")).id(format!("N-{number}")),
            11 => PlaceOrder::new(format!("A-{number:04}"))
                .failing(u32::MAX)
                .message(to),
            13 => PlaceOrder::new(format!("A-{number:04}"))
                .failing(1)
                .message(to),
            _ => PlaceOrder::new(format!("A-{number:04}")).message(to),
        })
        .collect();
    let letters = (0..different)
        .filter(|number| [7, 11].contains(&(number % UNPLACEABLE)))
        .count();
    let copies =
        (0..MESSAGES - different).map(|_| messages[fastrand::usize(..different as usize)].clone());
    // The broker must not recognise the copy: a restarted producer gives it another id, or none.
    let copies: Vec<_> = copies
        .map(|copy| {
            if fastrand::bool() {
                copy
            } else {
                nameless(copy)
            }
        })
        .collect();
    messages.extend(copies);
    fastrand::shuffle(&mut messages);
    (messages, different as usize - letters, letters)
}

fn nameless(mut message: Message) -> Message {
    // The letter of an undecodable message is identified by the message's id.
    if message.payload.starts_with(b"{") {
        message.id = None;
    }
    message
}
