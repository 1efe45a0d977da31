//! What an origin says of the deliveries before, and of the trace.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use idem_brokers::{Delivery, Session, Source};
use idem_runtime::Origin;
use idem_test_support::servers::Server;
use idem_test_support::within;

use crate::broker::{Broker, Stage};
use crate::shop::PlaceOrder;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The consumer of a message leaves without an ack, then another one gives it back.
pub(super) async fn tells_a_redelivery<B: Broker>(server: Arc<Server>) -> anyhow::Result<()> {
    let stage = Stage::<B>::new(&server).await?;
    let message = PlaceOrder::new("A-1001".to_owned()).message(&stage.name);
    stage
        .publish(message.header("traceparent", TRACEPARENT))
        .await?;
    let in_its_trace = |origin: Origin| {
        let trace = origin.trace().map(|trace| trace.parent().to_string());
        ensure!(
            trace.as_deref() == Some(TRACEPARENT),
            "{:?}",
            origin.headers
        );
        Ok(())
    };
    let source = stage.broker.source();
    let mut session = within(source.connect(1)).await?;
    let first = within(session.next(1)).await?;
    let told = first.origin().redelivered;
    ensure!(told == B::REMEMBERS.then_some(false), "first: {told:?}");
    in_its_trace(first.origin())?;
    drop(first);
    within(session.close()).await;

    let mut session = within(source.connect(1)).await?;
    let second = within(session.next(1)).await?;
    let told = second.origin().redelivered;
    ensure!(told == B::REMEMBERS.then_some(true), "elsewhere: {told:?}");
    second.retry(Duration::ZERO).await?;
    let third = within(session.next(1)).await?;
    let told = third.origin().redelivered;
    ensure!(told == Some(true), "given back: {told:?}");
    in_its_trace(third.origin())?;
    third.ack().await?;
    within(session.close()).await;
    stage.is_clean().await
}
