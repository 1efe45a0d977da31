//! The shop behind a real queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, ensure};
use idem_test_support::servers::{Kind, NATS, Needs, RABBITMQ, REDIS, Server, trial};
use idem_test_support::within;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::program::{DEAD, orders};

/// Orders that can be placed, and messages that no handler can take: no JSON, no number, a number
/// used again.
const PLACED: usize = 112;
const UNTAKEN: usize = 3;

pub(crate) fn all() -> impl Iterator<Item = Trial> {
    let kinds: [(&str, &'static Kind); 3] =
        [("rabbitmq", &RABBITMQ), ("nats", &NATS), ("redis", &REDIS)];
    kinds
        .into_iter()
        .map(|(name, kind)| trial(format!("queue::{name}"), kind, Needs::Any, shop))
}

/// Twice, so that everything comes once more.
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
            keys.len() == DEAD.len() + UNTAKEN && DEAD.iter().all(|key| keys.contains(key)),
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
