//! The example killed in the middle of its work, and run again on the same folder.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::ensure;
use idem_test_support::within;
use serde_json::Value;

use crate::program::{DEAD, orders};

/// The orders that the example can place.
const PLACED: usize = 112;

pub(crate) async fn each_order_is_placed_once_through_kills() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    // Two attempts of an order are left for kills.
    for written in [20, 70] {
        let mut killed = orders(data.path(), ["--json"])?.spawn()?;
        within(async {
            while book(data.path()).len() < written {
                tokio::task::yield_now().await;
            }
        })
        .await;
        killed.kill().await?;
    }
    let run = within(orders(data.path(), ["--json"])?.output()).await?;
    ensure!(run.status.success(), "{run:?}");
    let summary: Value = serde_json::from_slice(&run.stdout)?;

    let book = book(data.path());
    let once: BTreeSet<_> = book.iter().collect();
    ensure!((book.len(), once.len()) == (PLACED, PLACED), "{book:?}");
    let dead: BTreeSet<_> = summary["dead_letters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|letter| letter["key"].as_str())
        .collect();
    ensure!(dead == BTreeSet::from(DEAD), "{summary:#}");
    Ok(())
}

/// Returns the numbers of the orders in the book. A kill can leave a last line without its end.
fn book(data: &Path) -> Vec<String> {
    let book = std::fs::read_to_string(data.join("orders.jsonl")).unwrap_or_default();
    let whole = book.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|order| order["order_no"].to_string())
        .collect()
}
