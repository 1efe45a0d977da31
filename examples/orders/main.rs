//! A service that places each order once, however often it is delivered.
//!
//! ```text
//! cargo run --example orders
//! cargo run --example orders -- --data DIR --deliveries FILE
//! cargo run --example orders -- --ledger postgres://USER@HOST/NAME --deliveries FILE
//! cargo run --example orders -- --ledger redis://HOST --data DIR --deliveries FILE
//! cargo run --example orders -- --broker amqp://127.0.0.1
//! cargo run --example orders -- --data DIR --serve 127.0.0.1:8080 --smtp 'smtp://127.0.0.1:1025?tls=none' --mail-to you@example.com
//! ```
//!
//! Without `--data`, the ledger and the order book are in a temporary folder that is removed at the
//! end. With `--data` they stay, and a second run replays everything. Kill it at any point
//! (`kill -9`) and run it again: every order that can be placed is in `DIR/orders.jsonl` exactly
//! once, and every other order is an open dead letter. A kill counts as an attempt of each order
//! that was running. `RUST_LOG=idem_runtime=debug` shows each attempt.
//!
//! With `--ledger postgres://…`, the ledger and the order book, the table `orders`, are in that
//! database, and an order, its event and its result are one commit. With `--ledger redis://…`, the
//! order book stays `DIR/orders.jsonl`, because Redis has no such commit: after a kill, the order is
//! looked for there. Run as many processes on either as you like, all at once and on the same file
//! and folder. When one is killed, the others take its orders over after some seconds.
//!
//! Each placed order has an event in the outbox. The example leaves the events there, and `--json`
//! counts them; a service sends them with a relay of `idem_brokers`.
//!
//! With `--broker`, the example sends the deliveries to a queue and consumes them from there. It
//! knows RabbitMQ, NATS JetStream and Redis Streams, Kafka with `cargo run --example orders
//! --features kafka`, and RocketMQ with `cargo run --manifest-path
//! idem-brokers/rocketmq/Cargo.toml --example orders`. Deliveries that are refused in the table
//! below become dead letters there, because no caller gets the error.
//!
//! Give an address with a password in `BROKER_URL` instead of `--broker`: command lines are visible
//! to every user of the machine.
//!
//! With `--serve`, it keeps running and serves a dashboard, where people edit and run dead letters.
//! With `--smtp`, it reports dead letters by mail.
//!
//! A file of deliveries is JSON Lines:
//!
//! ```text
//! {"order_no":"A-1001","sku":"TEA-500","qty":2,"unit_price_cents":1250,"fail_times":0}
//! ```
//!
//! `fail_times` is the number of attempts for which the simulated stock service fails. The file that
//! comes with the example has 200 lines for 120 orders: 100 work at once, 12 need up to three
//! retries, 6 never work, one asks for 0 pieces, and the total of one overflows. 77 lines are
//! duplicates, some next to the first and some far behind it. One line is not JSON, one uses an
//! order number again with another quantity, and one has no order number. It prints:
//!
//! ```text
//! ┌───────────────────────────┬─────┬─────────────────────────────────────────────────────────────┐
//! │ Deliveries                ┆     ┆                                                             │
//! ╞═══════════════════════════╪═════╪═════════════════════════════════════════════════════════════╡
//! │ delivered                 ┆ 200 ┆ lines of the file                                           │
//! │ placed                    ┆ 112 ┆ written to orders.jsonl by this run                         │
//! │ replayed                  ┆  63 ┆ got the recorded result; the body did not run               │
//! │ dead letters              ┆  22 ┆ deliveries of the orders listed below                       │
//! │ refused                   ┆   3 ┆                                                             │
//! │   no usable order number  ┆   1 ┆ line 172: handler `orders.place`: the idempotency key is    │
//! │                           ┆     ┆ empty; nothing ran. Give every message a key of its own     │
//! │   not JSON                ┆   1 ┆ line 58: expected value at column 1                         │
//! │   order number used again ┆   1 ┆ line 141: handler `orders.place`, key `A-1005`: the key was │
//! │                           ┆     ┆ used before with another content, and nothing ran. Send new │
//! │                           ┆     ┆ content under a new key, or leave what may differ out of    │
//! │                           ┆     ┆ `fingerprint(…)`                                            │
//! │ retried                   ┆  18 ┆ made more than one attempt                                  │
//! └───────────────────────────┴─────┴─────────────────────────────────────────────────────────────┘
//!
//! Open dead letters
//! ┌────────┬──────────┬─────────────────────────────────────────────────────────┬──────────────────┐
//! │ Key    ┆ Attempts ┆ Last error                                              ┆ Reason           │
//! ╞════════╪══════════╪═════════════════════════════════════════════════════════╪══════════════════╡
//! │ A-1113 ┆        6 ┆ the stock service does not answer for SIEVE-FINE        ┆ no attempts left │
//! │ A-1090 ┆        6 ┆ the stock service does not answer for POT-IRON          ┆ no attempts left │
//! │ A-1068 ┆        6 ┆ the stock service does not answer for TEA-100           ┆ no attempts left │
//! │ A-1049 ┆        6 ┆ the stock service does not answer for TEA-100           ┆ no attempts left │
//! │ A-1027 ┆        6 ┆ the stock service does not answer for TEA-500           ┆ no attempts left │
//! │ A-1010 ┆        6 ┆ the stock service does not answer for SIEVE-FINE        ┆ no attempts left │
//! │ A-1077 ┆        1 ┆ the total overflows: 2 times 18446744073709551615 cents ┆ permanent error  │
//! │ A-1042 ┆        1 ┆ an order needs at least 1 piece                         ┆ permanent error  │
//! └────────┴──────────┴─────────────────────────────────────────────────────────┴──────────────────┘
//! ```
//!
//! The exit code is 0 when all deliveries were processed, even if some are dead letters; 1 when some
//! were not answered and must be delivered again (a full disk); 2, with an error message, when the
//! example could not start.

mod args;
mod book;
mod broker;
mod delivery;
mod ops;
mod order;
mod shop;
mod summary;
mod table;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::{StreamExt, stream};
use idem_postgres::Postgres;
use idem_redis::Redis;
use idem_runtime::Idem;
use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use args::Args;
use book::{Book, FileBook, TableBook};
use broker::Queue;
use delivery::Delivery;
use ops::Ops;
use shop::{Shop, place_order};
use summary::{Answer, Summary, open_letters, waiting_events};

const IN_FLIGHT: usize = 16;

/// How long the orders of a killed process wait. Short for a demonstration.
const LEASE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    // Off unless `RUST_LOG` is set: the tables show what people need.
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder()
                .with_default_directive(LevelFilter::OFF.into())
                .from_env_lossy(),
        )
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    match run().await {
        Ok(summary) => {
            if let Some(first_error) = &summary.first_error {
                eprintln!(
                    "orders: {} deliveries were not answered; run the example again: {first_error}",
                    summary.unanswered
                );
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("orders: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> anyhow::Result<Summary> {
    let args = Args::from_command_line()?;
    let deliveries = delivery::read(args.deliveries.as_deref())?;
    match (&args.ledger, &args.data) {
        (Some(url), data) if url.starts_with("redis://") || url.starts_with("rediss://") => {
            let folder = data.as_deref().context(
                "`--ledger redis://…` needs `--data DIR` too: the order book is a file there, which all \
                 processes share",
            )?;
            let (idem, book) = open_on_redis(url, folder).await?;
            work(idem, book, deliveries, &args).await
        }
        (Some(_), Some(_)) => bail!(
            "`--data` has no use with this `--ledger`: the order book is a table in the database"
        ),
        (Some(url), None) => {
            let (idem, book) = open_shared(url).await?;
            work(idem, book, deliveries, &args).await
        }
        (None, Some(folder)) => {
            let (idem, book) = open_embedded(folder)?;
            work(idem, book, deliveries, &args).await
        }
        (None, None) => {
            let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
            let (idem, book) = open_embedded(folder.path())?;
            work(idem, book, deliveries, &args).await
        }
    }
}

/// Opens the ledger and the order book in a folder, for this process only.
fn open_embedded(folder: &Path) -> anyhow::Result<(Idem, Book)> {
    make(folder)?;
    let idem = Idem::open(folder)?;
    Ok((idem, Book::File(file_in(folder)?)))
}

/// Opens the ledger on a Redis and the order book in a folder, which other processes may use too.
async fn open_on_redis(url: &str, folder: &Path) -> anyhow::Result<(Idem, Book)> {
    make(folder)?;
    let ledger = Redis::new(url).lease(LEASE).ledger();
    let idem = Idem::builder().open_with(ledger).await?;
    Ok((idem, Book::File(file_in(folder)?)))
}

fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the data folder {}", folder.display()))
}

fn file_in(folder: &Path) -> anyhow::Result<FileBook> {
    FileBook::open(&folder.join("orders.jsonl"))
}

/// Opens the ledger and the order book in a database, which other processes may use too.
async fn open_shared(url: &str) -> anyhow::Result<(Idem, Book)> {
    let ledger = Postgres::new(url).lease(LEASE).ledger();
    let idem = Idem::builder().open_with(ledger).await?;
    let book = TableBook::open(url).await?;
    Ok((idem, Book::Table(book)))
}

/// Processes all deliveries. With `--serve`, returns when the process is told to end.
async fn work(
    idem: Idem,
    book: Book,
    deliveries: Vec<Delivery>,
    args: &Args,
) -> anyhow::Result<Summary> {
    idem.install()?;
    let ops = match args.serve {
        Some(address) => {
            // Runs the dead letters that people run from the dashboard. Behind a broker, the consumer
            // does so by itself.
            let shelf = book.clone();
            idem.register_handler("orders.place", move |order| {
                let shop = Shop::new(&shelf);
                async move { place_order(order, &shop).await }
            });
            Some(Ops::start(&idem, address, args).await?)
        }
        None => None,
    };

    let queue = match &args.broker {
        Some(url) => Some(Queue::open(&idem, &book, url, &args.queue).await?),
        None => None,
    };
    let mut summary = match &queue {
        Some(queue) => queue.deliver(deliveries).await?,
        None => place_all(deliveries, &book).await?,
    };
    summary.book = book.name();
    summary.orders = book.len().await?;
    summary.events = waiting_events(&idem).await?;
    summary.dead_letters = open_letters(&idem).await?;
    print(&summary, args.json)?;
    if let Some(ops) = ops {
        ops.serve().await?;
    }
    if let Some(queue) = queue {
        queue.close().await;
    }
    idem.close().await?;
    Ok(summary)
}

async fn place_all(deliveries: Vec<Delivery>, book: &Book) -> anyhow::Result<Summary> {
    let progress = progress_bar(deliveries.len());
    let mut summary = Summary::default();
    let mut answers = stream::iter(deliveries)
        .map(|delivery| tokio::spawn(deliver(delivery, Shop::new(book))))
        .buffer_unordered(IN_FLIGHT);
    while let Some(answer) = answers.next().await {
        let (line, answer, retried) = answer.context("a delivery's task panicked")?;
        summary.add(line, answer, retried);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(summary)
}

fn print(summary: &Summary, json: bool) -> anyhow::Result<()> {
    let text = if json {
        serde_json::to_string_pretty(summary)? + "\n"
    } else {
        table::draw(summary)
    };
    match io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| io::stdout().flush())
    {
        // The reader has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print the summary"),
    }
}

async fn deliver(delivery: Delivery, shop: Shop) -> (usize, Answer, bool) {
    let answer = match delivery.order {
        Ok(order) => Answer::of(&place_order(order, &shop).await, &shop),
        Err(error) => Answer::Refused {
            reason: delivery::refusal(&error),
            text: error.to_string().replace(" at line 1 column", " at column"),
        },
    };
    (delivery.line, answer, shop.retried())
}

fn progress_bar(deliveries: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(deliveries as u64);
    match ProgressStyle::with_template("{bar:40} {pos}/{len} deliveries, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
