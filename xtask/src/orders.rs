//! The example `orders` from outside: building it, running it, reading what it left.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::stage;

/// What `--json` prints, as far as it is judged here.
#[derive(Debug, Deserialize)]
pub(crate) struct Summary {
    pub(crate) delivered: usize,
    pub(crate) placed: usize,
    pub(crate) found: usize,
    pub(crate) replayed: usize,
    pub(crate) dead_lettered: usize,
    pub(crate) refused: BTreeMap<String, Refusals>,
    pub(crate) unanswered: usize,
    pub(crate) retried: usize,
    pub(crate) dead_letters: Vec<Letter>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Refusals {
    pub(crate) count: usize,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Letter {
    pub(crate) key: String,
    pub(crate) outcomes: Vec<String>,
}

/// A line of `orders.jsonl`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Order {
    pub(crate) order_no: String,
    pub(crate) sku: String,
    pub(crate) qty: u32,
    pub(crate) total_cents: u64,
}

/// Builds the example and says where it is.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    stage::build("orders", &["build", "--example", "orders"])
}

/// Runs it to its end on the data folder.
pub(crate) fn finish(command: &mut Command) -> anyhow::Result<Summary> {
    let output = command
        .arg("--json")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the example")?;
    if !output.status.success() {
        bail!("the example `orders` ended with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("the example's --json output is not a summary")
}

/// All orders that the example has placed, in the order they stand in the book.
pub(crate) fn placed(data: &Path) -> anyhow::Result<Vec<Order>> {
    let book = data.join("orders.jsonl");
    fs::read_to_string(&book)
        .with_context(|| format!("cannot read {}", book.display()))?
        .lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line).with_context(|| {
                format!("line {} of {} is not an order", index + 1, book.display())
            })
        })
        .collect()
}
