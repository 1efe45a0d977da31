//! A handler that a person has paused, beside one that is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::ensure;
use idem_brokers::{Consumer, Running, State};
use idem_runtime::protocol::Actor;
use idem_test_support::servers::Server;

use crate::broker::{Broker, Stage, until};
use crate::shop::{HASTY, PlaceOrder, place, place_inline};
use crate::watched::{Counts, watched};

/// The name of [`place`].
const PLACE: &str = "orders.place";

impl<B: Broker> Stage<B> {
    pub(crate) async fn pause(&self) -> anyhow::Result<()> {
        self.idem.pause(PLACE, Actor::default()).await?;
        Ok(())
    }

    pub(crate) async fn resume(&self) -> anyhow::Result<()> {
        let lifted = self.idem.resume(PLACE, Actor::default()).await?;
        ensure!(lifted.is_some(), "it was not paused");
        Ok(())
    }

    /// Sends orders of some customers, and returns them by customer.
    pub(crate) async fn send_of(
        &self,
        customers: &[&str],
        orders: usize,
    ) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
        let mut sent = BTreeMap::<String, Vec<String>>::new();
        for number in 0..orders {
            let customer = customers[number % customers.len()];
            let order = PlaceOrder::new(format!("A-{number:04}")).by(customer);
            let message = order.message(&self.name).ordering_key(customer);
            self.publish(message).await?;
            let of_customer = sent.entry(customer.to_owned()).or_default();
            of_customer.push(order.order_no);
        }
        Ok(sent)
    }

    /// Starts a consumer that keeps each customer's order. It has another handler for the hasty one.
    pub(crate) fn consume_in_order(&self, source: B::Source) -> (Running, Arc<Counts>) {
        let ((source, counts), shop) = (watched(source), Arc::clone(&self.shop));
        let consumer = Consumer::new(&self.idem, source)
            .in_flight(16)
            .ordered_by(|order: &PlaceOrder| order.customer.clone())
            .start(move |order: PlaceOrder| {
                let shop = Arc::clone(&shop);
                async move {
                    if order.customer == HASTY {
                        place_inline(shop, order).await
                    } else {
                        place(shop, order).await
                    }
                }
            });
        (consumer, counts)
    }
}

/// The messages of the paused one are held in their order, and those of the other one go on.
pub(super) async fn one_of_two_handlers<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    stage.pause().await?;
    // A consumer holds 31.
    let sent = stage.send_of(&["Ann", "Bob", HASTY], 30).await?;
    let (consumer, counts) = stage.consume_in_order(stage.broker.source());
    until("those of the other handler are placed", || {
        stage.shop.placed() == 10
    })
    .await?;
    until("all have come", || counts.came() == 30).await?;
    until("its state says so", || {
        consumer.state() == State::Holding(vec![PLACE.to_owned()])
    })
    .await?;
    let placed = stage.shop.by_customer();
    ensure!(placed.keys().eq([HASTY]), "{placed:?}");
    stage.resume().await?;
    until("all are acked", || counts.acked() == 30).await?;
    ensure!(counts.came() == 30, "none is given back: {counts:?}");
    until("its state says so", || consumer.state() == State::Taking).await?;
    stage.stop(consumer).await;
    ensure!(
        stage.shop.by_customer() == sent,
        "{:?}",
        stage.shop.by_customer()
    );
    stage.is_clean().await
}
