//! The example behind a real broker.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, ensure};
use idem_test_support::servers::{Kind, NATS, Needs, RABBITMQ, REDIS, Server, trial};
use idem_test_support::within;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::program::{DEAD, orders};

/// The number of orders that can be placed.
const PLACED: usize = 112;
/// The number of refused messages: one is not JSON, one has no order number, one reuses a number.
const REFUSED: usize = 3;

pub(crate) fn all() -> impl Iterator<Item = Trial> {
    let kinds: [(&str, &'static Kind); 3] =
        [("rabbitmq", &RABBITMQ), ("nats", &NATS), ("redis", &REDIS)];
    kinds
        .into_iter()
        .map(|(name, kind)| trial(format!("queue::{name}"), kind, Needs::Any, shop))
}

/// Runs the example twice, so that every delivery comes again.
async fn shop(server: Arc<Server>) -> anyhow::Result<()> {
    let (data, queue) = (
        tempfile::tempdir()?,
        format!("shop-{}", uuid::Uuid::new_v4().simple()),
    );
    let arguments = ["--json", "--broker", server.address(), "--queue", &queue];
    for placed in [PLACED, 0] {
        let output = within(orders(data.path(), arguments)?.output()).await?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let summary: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(
            summary["delivered"] == 200 && summary["placed"] == placed,
            "{summary:#}"
        );
        ensure!(summary["orders"] == PLACED, "{summary:#}");
        let letters = summary["dead_letters"].as_array().context("no letters")?;
        let keys: BTreeSet<_> = letters
            .iter()
            .filter_map(|letter| letter["key"].as_str())
            .collect();
        ensure!(
            keys.len() == DEAD.len() + REFUSED && DEAD.iter().all(|key| keys.contains(key)),
            "{letters:?}"
        );
    }
    let book = std::fs::read_to_string(data.path().join("orders.jsonl"))?;
    let different: BTreeSet<_> = book.lines().collect();
    ensure!(
        book.lines().count() == PLACED && different.len() == PLACED,
        "an order stands in the book twice"
    );
    Ok(())
}
