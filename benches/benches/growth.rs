//! What many records cost: calls a second, memory, disk, and opening after `kill -9`.
//!
//! `-- fjall` measures the ledger on fjall. The bench runs itself as a child: one that fills a ledger and is killed, one that opens it, one
//! whose results expire all the time, and one that turns over as much on sled alone.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use idem_benches::orders::{Order, PlaceOrder, delivery, first_calls, placed, rate};
use idem_benches::report::Row;
use idem_benches::usage::{disk, resident};
use idem_runtime::ledger::Engine;
use idem_runtime::testing::ManualClock;
use idem_runtime::{Error, Idem, IdemBuilder, idempotent};

/// What idem's own cache is unless said.
const CACHE: u64 = 128 << 20;
const CALLERS: usize = 64;
/// How many calls are timed at each size.
const TIMED: u64 = 40_000;
const SIZES: [u64; 4] = [10_000, 100_000, 1_000_000, 5_000_000];
/// What stays alive in the turnover, and how often it is turned over.
const LIVE: u64 = 200_000;
const TURNS: u64 = 5;

fn main() {
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    match given
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["fill", folder] => fill(Path::new(folder)),
        ["open", folder] => open(Path::new(folder)),
        [what @ ("turnover" | "bare"), folder, sku] => {
            let (folder, sku) = (Path::new(folder), "T".repeat(sku.parse().unwrap()));
            if *what == "bare" {
                bare(folder, &sku);
            } else {
                turnover(folder, &sku);
            }
        }
        ["fjall"] => parent(Engine::Fjall),
        _ => parent(Engine::Sled),
    }
}

/// The variable that tells a child its engine.
const ENGINE: &str = "IDEM_BENCH_ENGINE";

fn builder() -> IdemBuilder {
    let on_fjall = std::env::var(ENGINE).is_ok_and(|engine| engine == "fjall");
    Idem::builder().engine(if on_fjall {
        Engine::Fjall
    } else {
        Engine::Sled
    })
}

fn parent(engine: Engine) {
    let (on, is_fjall) = (engine.name(), engine == Engine::Fjall);
    let child = |what: &[&str], folder: &Path, figures, take: &mut dyn FnMut((String, f64))| {
        child(engine, what, folder, figures, take);
    };
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let mut first = None;
    child(&["fill"], &ledger, SIZES.len() + 1, &mut |figure| {
        let (what, ours) = figure;
        let Ok(records) = what.parse::<u64>() else {
            let bench = format!("resident memory at 5000000 records, {on}");
            return Row {
                bench,
                unit: "MiB",
                ours,
                beside: None,
                to_reach: if is_fjall { "≤ 250" } else { "≤ 400" },
            }
            .print();
        };
        let smallest = *first.get_or_insert(ours);
        let bench = format!("first calls, {CALLERS} callers, {records} records, {on}");
        Row {
            bench,
            unit: "calls/s",
            ours,
            beside: Some(("itself at 10000", smallest)),
            to_reach: if is_fjall { "≥ 0.8" } else { "≥ 0.5" },
        }
        .print();
    });
    child(&["open"], &ledger, 1, &mut |(_, ours)| {
        let bench = format!("opening 5000000 records after kill -9, {on}");
        Row {
            bench,
            unit: "s",
            ours,
            beside: None,
            to_reach: if is_fjall { "≤ 2" } else { "≤ 5" },
        }
        .print();
    });
    for sku in [7, 1000] {
        let (key, result) = key_and_result(0, &"T".repeat(sku));
        let bytes = key.len() + result.len();
        let to_reach = if is_fjall { "≤ 4" } else { "≤ 6" };
        let sides = [("turnover", on, to_reach), ("bare", "bare sled", "")];
        let sides = sides
            .into_iter()
            .filter(|(what, ..)| *what == "turnover" || !is_fjall);
        for (what, whose, to_reach) in sides {
            child(
                &[what, &sku.to_string()],
                &folder.path().join(format!("{what}{sku}")),
                1,
                &mut |(_, ours)| {
                    let bench = format!("disk a live record of {bytes} bytes in turnover, {whose}");
                    Row {
                        bench,
                        unit: "bytes",
                        ours,
                        beside: Some(("key and result", bytes as f64)),
                        to_reach,
                    }
                    .print();
                },
            );
        }
    }
}

/// Runs a child until it has printed this many figures, and kills it.
fn child(
    engine: Engine,
    what: &[&str],
    folder: &Path,
    figures: usize,
    take: &mut dyn FnMut((String, f64)),
) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(ENGINE, engine.name())
        .arg(what[0])
        .arg(folder)
        .args(&what[1..])
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.take(figures) {
        let line = line.unwrap();
        let (what, figure) = line.rsplit_once(' ').unwrap();
        take((what.to_owned(), figure.parse().unwrap()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn say(what: impl std::fmt::Display, figure: f64) {
    println!("{what} {figure}");
    std::io::stdout().flush().unwrap();
}

/// A child waits to be killed.
fn wait() -> ! {
    loop {
        std::thread::park();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn fill(folder: &Path) {
    let (runtime, idem) = (runtime(), builder().open(folder).unwrap());
    let mut filled = 0;
    for size in SIZES {
        runtime.block_on(first_calls(&idem, filled..size, 512));
        let rate = runtime.block_on(first_calls(&idem, size..size + TIMED, CALLERS));
        filled = size + TIMED;
        say(size, rate);
    }
    say("resident", resident());
    wait();
}

fn open(folder: &Path) {
    let start = Instant::now();
    let idem = builder().open(folder).unwrap();
    say("opened", start.elapsed().as_secs_f64());
    drop(idem);
}

#[idempotent(name = "orders.brief", key = "order_no", ttl = "1h")]
async fn brief(order_no: String, sku: String) -> Result<Order, Error> {
    Ok(placed(PlaceOrder {
        order_no,
        sku,
        qty: 2,
    }))
}

fn key_and_result(number: u64, sku: &str) -> (String, Vec<u8>) {
    let order = PlaceOrder {
        sku: sku.to_owned(),
        ..delivery(number)
    };
    (
        order.order_no.clone(),
        serde_json::to_vec(&placed(order)).unwrap(),
    )
}

/// The same turnover without idem: groups as large, each result removed when as many newer ones are
/// there.
fn bare(folder: &Path, sku: &str) {
    let db = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE)
        .open()
        .unwrap();
    for first in (0..TURNS * LIVE).step_by(CALLERS) {
        let mut group = sled::Batch::default();
        for number in first..first + CALLERS as u64 {
            let (key, result) = key_and_result(number, sku);
            group.insert(key.as_str(), result);
            if let Some(old) = number.checked_sub(LIVE) {
                group.remove(key_and_result(old, sku).0.as_str());
            }
        }
        db.apply_batch(group).unwrap();
        db.flush().unwrap();
    }
    say("bytes", disk(folder).unwrap() as f64 / LIVE as f64);
    wait();
}

fn turnover(folder: &Path, sku: &str) {
    let clock = Arc::new(ManualClock::default());
    let (runtime, idem) = (
        runtime(),
        builder().clock(clock.clone()).open(folder).unwrap(),
    );
    // A hundredth of what is alive at a time, in a hundredth of the time to live.
    let piece = LIVE / 100;
    for number in 0..TURNS * 100 {
        runtime.block_on(rate(
            number * piece..(number + 1) * piece,
            CALLERS,
            |number| {
                let (idem, sku) = (idem.clone(), sku.to_owned());
                async move {
                    assert!(
                        idem.scope(brief(delivery(number).order_no, sku))
                            .await
                            .is_ok()
                    );
                }
            },
        ));
        clock.advance(Duration::from_secs(36));
        runtime.block_on(idem.sweep()).unwrap();
    }
    say("bytes", disk(folder).unwrap() as f64 / LIVE as f64);
    wait();
}
