//! The example `orders` on the file that comes with it: what the README's first command shows.

use std::collections::HashSet;

use anyhow::{Context, ensure};

use crate::orders;
use crate::stage::cargo;

/// What the example's module documentation says about its file.
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

    let first = orders::finish(&mut on_data()).with_context(|| format!("to repeat it: {line}"))?;
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
        "the example `orders` counted something else than it documents: {first:#?}\nto repeat it: {line}"
    );
    let book = orders::placed(data.path())?;
    let numbers: HashSet<_> = book.iter().map(|order| &order.order_no).collect();
    ensure!(
        book.len() == PLACED && numbers.len() == PLACED,
        "orders.jsonl holds {} lines for {} orders, {PLACED} were placed",
        book.len(),
        numbers.len()
    );

    let second = orders::finish(&mut on_data()).context("the second run on the same data")?;
    ensure!(
        (second.placed, second.found, second.replayed, second.retried)
            == (0, 0, PLACED + REPLAYED, 0)
            && (second.dead_lettered, second.dead_letters.len()) == (DEAD_LETTERED, LETTERS),
        "the second run on the same data was not a replay: {second:#?}"
    );
    ensure!(
        orders::placed(data.path())? == book,
        "the second run on the same data changed orders.jsonl"
    );
    println!(
        "   {PLACED} orders placed once, {LETTERS} dead letters; the second run replayed them all"
    );
    Ok(())
}
