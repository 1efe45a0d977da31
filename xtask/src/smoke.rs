//! The example `orders` on its own file: checks that it prints the documented counts.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::stage::cargo;

// The counts in the example's documentation.
const DELIVERED: usize = 200;
const PLACED: usize = 112;
const REPLAYED: usize = 63;
const DEAD_LETTERED: usize = 22;
const LETTERS: usize = 8;
const RETRIED: usize = 18;
const REFUSED: [(&str, usize); 3] = [
    ("no usable order number", 1),
    ("not JSON", 1),
    ("order number used again", 1),
];

pub(crate) fn run() -> anyhow::Result<()> {
    let data = tempfile::tempdir().context("cannot make a temporary folder")?;
    let line = "cargo run --example orders";
    println!("\n── The example `orders`\n   {line}\n");
    let on_data = || {
        let mut command = cargo();
        command.args(["run", "--quiet", "--example", "orders", "--", "--data"]);
        command.arg(data.path());
        command
    };

    let first = finish(&mut on_data()).with_context(|| format!("to repeat it: {line}"))?;
    let refused: Vec<_> = first
        .refused
        .iter()
        .map(|(reason, refusals)| (reason.as_str(), refusals.count))
        .collect();
    ensure!(
        (first.delivered, first.placed, first.found, first.replayed)
            == (DELIVERED, PLACED, 0, REPLAYED)
            && (first.dead_lettered, first.dead_letters.len()) == (DEAD_LETTERED, LETTERS)
            && (first.retried, first.unanswered) == (RETRIED, 0)
            && refused == REFUSED,
        "the counts of the example `orders` are not the documented ones: {first:#?}\nto repeat it: {line}"
    );
    let book = placed(data.path())?;
    let numbers: HashSet<_> = book.iter().map(|order| &order.order_no).collect();
    ensure!(
        book.len() == PLACED && numbers.len() == PLACED,
        "orders.jsonl holds {} lines for {} orders, {PLACED} were placed",
        book.len(),
        numbers.len()
    );

    let second = finish(&mut on_data()).context("the second run on the same data")?;
    ensure!(
        (second.placed, second.found, second.replayed, second.retried)
            == (0, 0, PLACED + REPLAYED, 0)
            && (second.dead_lettered, second.dead_letters.len()) == (DEAD_LETTERED, LETTERS),
        "the second run on the same data was not a replay: {second:#?}"
    );
    ensure!(
        placed(data.path())? == book,
        "the second run on the same data changed orders.jsonl"
    );
    println!(
        "   {PLACED} orders placed once, {LETTERS} dead letters; the second run replayed them all"
    );
    Ok(())
}

/// The part of the `--json` output that is checked here.
#[derive(Debug, Deserialize)]
struct Summary {
    delivered: usize,
    placed: usize,
    found: usize,
    replayed: usize,
    dead_lettered: usize,
    refused: BTreeMap<String, Refusals>,
    unanswered: usize,
    retried: usize,
    dead_letters: Vec<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Refusals {
    count: usize,
}

/// A line of `orders.jsonl`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Order {
    order_no: String,
    sku: String,
    qty: u32,
    total_cents: u64,
}

/// Runs the example to its end, and returns its counts.
fn finish(command: &mut Command) -> anyhow::Result<Summary> {
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

/// Returns all orders that the example has placed, in the order of its book.
fn placed(data: &Path) -> anyhow::Result<Vec<Order>> {
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
