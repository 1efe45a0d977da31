//! Everything fails for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{bail, ensure};
use idem_brokers::Consumer;
use idem_runtime::pause::PauseRules;
use idem_runtime::testing::temporary_with;
use idem_runtime::{Filter, Idem, idempotent};
use idem_test_support::servers::Server;
use idem_test_support::within;

use crate::broker::{Broker, Stage, until};
use crate::shop::{PlaceOrder, Shop};
use crate::watched::watched;

const ORDERS: u32 = 200;

/// The bank that the bodies need.
#[derive(Default)]
struct Bank {
    answers: AtomicBool,
    asked: AtomicUsize,
}

/// Nothing says which of its errors is an outage.
#[idempotent(
    name = "orders.pay",
    key = "order.order_no",
    retry = "redeliver",
    retries = 3,
    skip(shop, bank)
)]
async fn pay(shop: Arc<Shop>, bank: Arc<Bank>, order: PlaceOrder) -> anyhow::Result<u32> {
    bank.asked.fetch_add(1, Ordering::SeqCst);
    if !bank.answers.load(Ordering::SeqCst) {
        bail!("the bank does not answer");
    }
    shop.place(&order)
}

/// No good order becomes a letter, none is delivered in circles, and each is placed once.
pub(super) async fn everything_fails<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let rules = PauseRules::default().wait(Duration::from_millis(100), Duration::from_millis(500));
    let stage = Stage::<B> {
        idem: temporary_with(Idem::builder().pause(rules))?,
        ..Stage::new(&server).await?
    };
    let (bank, shop) = (Arc::<Bank>::default(), Arc::clone(&stage.shop));
    let (source, counts) = watched(stage.broker.source());
    let asked = Arc::clone(&bank);
    let consumer = Consumer::new(&stage.idem, source)
        .in_flight(16)
        .start(move |order: PlaceOrder| pay(Arc::clone(&shop), Arc::clone(&asked), order));
    stage.send_all(0..ORDERS).await?;
    within(async {
        while stage.idem.pauses().await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    })
    .await?;
    let (probes, given_back) = (bank.asked.load(Ordering::SeqCst), counts.again());
    let more = || bank.asked.load(Ordering::SeqCst) >= probes + 3;
    until("three more were let through to see", more).await?;
    // Those in flight when the pause began.
    let circled = counts.again() - given_back;
    ensure!(circled <= 32, "{circled} were given back in the pause");
    bank.answers.store(true, Ordering::SeqCst);
    until("all are placed", || stage.shop.placed() == ORDERS as usize).await?;
    stage.stop(consumer).await;
    let letters = stage.idem.dead_letters().list(&Filter::default()).await?;
    ensure!(letters.is_empty(), "{letters:?}");
    stage.is_clean().await
}
