//! The example as several processes on one database.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use idem_postgres::Postgres;
use idem_runtime::{Filter, Idem};
use idem_test_support::servers::{Database, Needs, POSTGRES, Server, trial};
use idem_test_support::within;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::process::{Child, Command};
use tokio::task::yield_now;

use crate::program::{DEAD, example};

/// The number of orders of the example's own file that can be placed.
pub(crate) const PLACED: usize = 112;
pub(crate) const PROCESSES: usize = 4;

pub(crate) fn all() -> [Trial; 3] {
    [
        trial(
            "shared::four_processes_place_each_order_once",
            &POSTGRES,
            Needs::Any,
            |_| four_processes_place_each_order_once(),
        ),
        trial(
            "shared::an_order_that_the_table_refuses_is_found",
            &POSTGRES,
            Needs::Any,
            |_| an_order_that_the_table_refuses_is_found(),
        ),
        trial(
            "shared::each_order_is_placed_once_through_kills",
            &POSTGRES,
            Needs::Own,
            each_order_is_placed_once_through_kills,
        ),
    ]
}

async fn four_processes_place_each_order_once() -> anyhow::Result<()> {
    let database = Database::empty().await?;
    each_order_once(|| Ok(orders(database.url(), None)?.spawn()?)).await
}

/// Starts processes on the example's own file. The second time everything is replayed.
pub(crate) async fn each_order_once(
    start: impl Fn() -> anyhow::Result<Child>,
) -> anyhow::Result<()> {
    for placed in [PLACED, 0] {
        let started: Vec<_> = (0..PROCESSES)
            .map(|_| start())
            .collect::<anyhow::Result<_>>()?;
        let mut placed_by_all = 0;
        for process in started {
            let summary = summary(process).await?;
            placed_by_all += summary["placed"].as_u64().context("no count")?;
            ensure!(
                summary["orders"] == PLACED && summary["events"] == PLACED,
                "{summary:#}"
            );
            let dead: BTreeSet<_> = summary["dead_letters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|letter| letter["key"].as_str())
                .collect();
            ensure!(dead == BTreeSet::from(DEAD), "{summary:#}");
        }
        ensure!(
            placed_by_all == placed as u64,
            "{placed_by_all} orders were placed"
        );
    }
    Ok(())
}

/// Something else inserts the order after the handler has looked for it, and before its own row.
async fn an_order_that_the_table_refuses_is_found() -> anyhow::Result<()> {
    let database = Database::empty().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("deliveries.jsonl");
    std::fs::write(&file, "")?;
    // Makes the table.
    summary(orders(database.url(), Some(&file))?.spawn()?).await?;

    let mut other = database.connect().await?;
    let mut insertion = other.begin().await?;
    sqlx::query("INSERT INTO orders VALUES ('A-1', 'TEA-500', 1, 500)")
        .execute(&mut *insertion)
        .await?;
    std::fs::write(&file, delivery("A-1", 2, 0).to_string())?;
    let process = orders(database.url(), Some(&file))?.spawn()?;
    let mut watch = database.connect().await?;
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
        AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO orders%')";
    within(async {
        while !sqlx::query_scalar(waits).fetch_one(&mut watch).await? {
            yield_now().await;
        }
        anyhow::Ok(())
    })
    .await?;
    insertion.commit().await?;

    let summary = summary(process).await?;
    ensure!(
        summary["found"] == 1 && summary["placed"] == 0,
        "{summary:#}"
    );
    ensure!(
        summary["orders"] == 1 && summary["events"] == 1 && summary["dead_letters"] == json!([]),
        "{summary:#}"
    );
    Ok(())
}

async fn each_order_is_placed_once_through_kills(server: Arc<Server>) -> anyhow::Result<()> {
    let url = format!("{}/postgres", server.address());
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("deliveries.jsonl");
    let expected = write_deliveries(&file, 1500)?;
    let start = || anyhow::Ok(orders(&url, Some(&file))?.spawn()?);
    let rows = || async { rows(&url).await.unwrap_or_default() };
    through_kills(&server, expected.placed.len(), start, rows).await?;

    let mut connection = PgConnection::connect(&url).await?;
    let placed: Vec<String> = sqlx::query_scalar("SELECT order_no FROM orders")
        .fetch_all(&mut connection)
        .await?;
    let idem = Idem::builder().open_with(Postgres::connect(&url)).await?;
    expected.judge(placed, idem).await
}

/// Kills processes one after the other, and the server; each is started again. `placed` is how many
/// orders there will be, and `rows` returns how many there are.
pub(crate) async fn through_kills<F: Future<Output = usize>>(
    server: &Server,
    placed: usize,
    start: impl Fn() -> anyhow::Result<Child>,
    rows: impl Fn() -> F,
) -> anyhow::Result<()> {
    const KILLS: usize = 8;
    let mut processes: Vec<Child> = (0..PROCESSES).map(|_| start()).collect::<Result<_, _>>()?;
    for kill in 1..=KILLS {
        within(async {
            while rows().await < kill * placed / (KILLS + 1) {
                yield_now().await;
            }
        })
        .await;
        let process = &mut processes[fastrand::usize(..PROCESSES)];
        process.kill().await?;
        // Twice the server dies too, with the other processes in the middle of their work.
        if kill % 4 == 0 {
            server.kill()?;
            server.restart().await?;
        }
        *process = start()?;
    }
    for mut process in processes {
        // Deliveries that were not answered, because the server was away, are delivered again.
        while within(process.wait()).await?.code() == Some(1) {
            process = start()?;
        }
        let output = process.wait_with_output().await?;
        ensure!(
            output.status.success(),
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// What is to be found at the end: how often each order is there.
pub(crate) struct Expected {
    pub(crate) placed: BTreeMap<String, usize>,
    letters: BTreeMap<String, usize>,
}

/// Every tenth order cannot be placed, and every third comes twice.
pub(crate) fn write_deliveries(file: &Path, orders: usize) -> anyhow::Result<Expected> {
    let (mut placed, mut letters) = (BTreeMap::new(), BTreeMap::new());
    let mut lines = Vec::new();
    for number in 0..orders {
        let order_no = format!("A-{number}");
        let (qty, fail_times) = match number % 20 {
            3 => (0, 0),
            11 => (2, u32::MAX),
            _ => (2, 0),
        };
        let there = if qty == 0 || fail_times > 0 {
            &mut letters
        } else {
            &mut placed
        };
        there.insert(order_no.clone(), 1);
        let delivery = delivery(&order_no, qty, fail_times).to_string() + "\n";
        for _ in 0..=usize::from(number % 3 == 0) {
            lines.insert(
                fastrand::usize(lines.len().saturating_sub(50)..=lines.len()),
                delivery.clone(),
            );
        }
    }
    std::fs::write(file, lines.concat())?;
    Ok(Expected { placed, letters })
}

impl Expected {
    /// Compares with the orders in the book, and with the letters and events in the ledger.
    pub(crate) async fn judge(self, placed: Vec<String>, idem: Idem) -> anyhow::Result<()> {
        let (mut letters, mut page) = (Vec::new(), Filter::default());
        loop {
            let found = idem.dead_letters().list(&page).await?;
            let Some(last) = found.last() else { break };
            page = Filter::default().after(last.id);
            letters.extend(found.into_iter().map(|letter| letter.key));
        }
        let (mut events, mut last) = (Vec::new(), None);
        loop {
            let found = idem.outbox().pending(last.as_ref(), 1000).await?;
            events.extend(found.iter().map(|event| event.message.key.clone()));
            last = found.into_iter().last();
            if last.is_none() {
                break;
            }
        }
        idem.close().await?;
        ensure_same("orders", &placed, &self.placed)?;
        ensure_same("letters", &letters, &self.letters)?;
        ensure_same("events", &events, &self.placed)
    }
}

/// Checks how often each order was found.
fn ensure_same(
    what: &str,
    found: &[String],
    expected: &BTreeMap<String, usize>,
) -> anyhow::Result<()> {
    let mut counted = BTreeMap::<_, usize>::new();
    for order_no in found {
        *counted.entry(order_no.clone()).or_default() += 1;
    }
    ensure!(counted == *expected, "{what}: {counted:?}");
    Ok(())
}

fn delivery(order_no: &str, qty: u32, fail_times: u32) -> Value {
    json!({
        "order_no": order_no, "sku": "TEA-500", "qty": qty, "unit_price_cents": 500, "fail_times": fail_times,
    })
}

async fn rows(url: &str) -> anyhow::Result<usize> {
    // A server that is being started answers after a while.
    let mut connection = PgConnection::connect(url).await?;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(usize::try_from(rows)?)
}

/// Returns a command that runs the example on the database.
fn orders(url: &str, deliveries: Option<&Path>) -> anyhow::Result<Command> {
    let mut command = example()?;
    command.args(["--json", "--ledger", url]);
    if let Some(file) = deliveries {
        command.arg("--deliveries").arg(file);
    }
    Ok(command)
}

/// Returns what the process printed at its end.
pub(crate) async fn summary(process: Child) -> anyhow::Result<Value> {
    let output = within(process.wait_with_output()).await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
