//! The example as several processes on one Redis, with one order book in a folder.

use std::future::ready;
use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use idem_redis::Redis;
use idem_runtime::Idem;
use idem_test_support::servers::{Needs, REDIS, Server, trial};
use idem_test_support::within;
use libtest_mimic::Trial;
use serde_json::Value;
use tokio::process::Command;

use crate::program::example;
use crate::shared::{each_order_once, through_kills, write_deliveries};

pub(crate) fn all() -> [Trial; 3] {
    [
        trial(
            "on_redis::four_processes_place_each_order_once",
            &REDIS,
            Needs::Own,
            four_processes,
        ),
        trial(
            "on_redis::each_order_is_placed_once_through_kills",
            &REDIS,
            Needs::Own,
            kills,
        ),
        trial(
            "on_redis::a_folder_for_the_order_book_is_needed",
            &REDIS,
            Needs::Any,
            |server| async move { needs_a_folder(server.address()).await },
        ),
    ]
}

async fn four_processes(server: Arc<Server>) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    each_order_once(|| Ok(orders(server.address(), data.path())?.spawn()?)).await
}

/// The server keeps what it acknowledged (`appendfsync always`).
async fn kills(server: Arc<Server>) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let file = data.path().join("deliveries.jsonl");
    let expected = write_deliveries(&file, 1500)?;
    let start = || {
        let mut command = orders(server.address(), data.path())?;
        anyhow::Ok(command.arg("--deliveries").arg(&file).spawn()?)
    };
    let rows = || ready(book(data.path()).len());
    through_kills(&server, expected.placed.len(), start, rows).await?;
    let idem = Idem::builder();
    let idem = idem.open_with(Redis::connect(server.address())).await?;
    expected.judge(book(data.path()), idem).await
}

async fn needs_a_folder(url: &str) -> anyhow::Result<()> {
    let none = within(example()?.args(["--ledger", url]).output()).await?;
    let said = String::from_utf8_lossy(&none.stderr);
    ensure!(none.status.code() == Some(2), "{none:?}");
    ensure!(said.contains("needs `--data DIR` too"), "{said}");
    let data = tempfile::tempdir()?;
    let table = orders("postgres://127.0.0.1:1/none", data.path())?.output();
    let table = within(table).await?;
    let said = String::from_utf8_lossy(&table.stderr);
    ensure!(table.status.code() == Some(2), "{table:?}");
    ensure!(said.contains("a table in the database"), "{said}");
    Ok(())
}

/// Returns the numbers of the orders in the book, those of whole lines.
fn book(data: &Path) -> Vec<String> {
    let book = std::fs::read_to_string(data.join("orders.jsonl")).unwrap_or_default();
    let whole = book.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().map(serde_json::from_str::<Value>);
    lines
        .filter_map(|line| Some(line.ok()?["order_no"].as_str()?.to_owned()))
        .collect()
}

/// Returns a command that runs the example on the server and the folder.
fn orders(url: &str, data: &Path) -> anyhow::Result<Command> {
    let mut command = example()?;
    command.args(["--json", "--ledger", url]);
    command.arg("--data").arg(data);
    Ok(command)
}
