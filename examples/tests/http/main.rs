//! The examples `http` and `http_postgres` as processes of their own, killed and started again.
//!
//! The long runs are `cargo test -p idem-examples --test http -- --ignored`; `IDEM_HTTP_SEED` gives a
//! run again, as far as its plan goes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod judge;
mod plan;
mod shop;
mod storm;

use std::path::Path;
use std::process::ExitCode;

use anyhow::ensure;
use idem_postgres::Postgres;
use idem_runtime::{Filter, Idem};
use idem_test_support::servers::{Database, Needs, POSTGRES, trial};
use libtest_mimic::{Arguments, Trial};

use crate::client::{Answer, Manner, order, send};
use crate::judge::Row;
use crate::shop::{Program, Shop};
use crate::storm::Storm;

/// How many requests a long run has.
const ALL: usize = 10_000;

fn main() -> ExitCode {
    let test = |name, test: fn() -> anyhow::Result<()>| Trial::test(name, move || Ok(test()?));
    let tests = vec![
        test("each_key_of_a_principal_is_one_order_through_kills", || {
            block_on(each_key_of_a_principal_is_one_order_through_kills())
        }),
        test("storm::embedded", || block_on(embedded(800))),
        trial("storm::postgres", &POSTGRES, Needs::Any, |_| postgres(300)),
        test("storm::all_embedded", || block_on(embedded(ALL))).with_ignored_flag(true),
        test("storm::all_postgres", || block_on(postgres(ALL))).with_ignored_flag(true),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn block_on<T>(test: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(test)
}

fn seed() -> u64 {
    std::env::var("IDEM_HTTP_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap())
}

fn embedded_in(data: &Path) -> anyhow::Result<Program> {
    Program::build("http", ["--data".into(), data.into()])
}

/// Each order is in the book once, and there is no dead letter.
async fn embedded(requests: usize) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let program = embedded_in(data.path())?;
    let (storm, shop) = Storm::run(&program, seed(), requests).await?;
    let book = std::fs::read_to_string(data.path().join("orders.jsonl"))?;
    let rows = book.lines().map(serde_json::from_str);
    storm.compare(rows.collect::<Result<_, _>>()?)?;
    shop.kill().await?;
    without_letters(&Idem::open(data.path().join("ledger"))?).await
}

/// The same of rows that commit with the record.
async fn postgres(requests: usize) -> anyhow::Result<()> {
    let database = Database::empty().await?;
    let program = Program::build("http_postgres", [database.url().into()])?;
    let (storm, shop) = Storm::run(&program, seed(), requests).await?;
    let mut connection = database.connect().await?;
    let rows = sqlx::query_as("SELECT order_no, sku, qty FROM orders");
    let rows = rows.fetch_all(&mut connection).await?;
    let row = |(order_no, sku, qty)| Row { order_no, sku, qty };
    storm.compare(rows.into_iter().map(row).collect())?;
    shop.kill().await?;
    let ledger = Postgres::connect(database.url());
    without_letters(&Idem::builder().open_with(ledger).await?).await
}

async fn without_letters(idem: &Idem) -> anyhow::Result<()> {
    let letters = idem.dead_letters().list(&Filter::default()).await?;
    ensure!(letters.is_empty(), "{letters:?}");
    Ok(idem.close().await?)
}

async fn each_key_of_a_principal_is_one_order_through_kills() -> anyhow::Result<()> {
    const ORDER: &str = r#"{"sku":"TEA","qty":2}"#;
    let data = tempfile::tempdir()?;
    let program = embedded_in(data.path())?;
    for start in 0..2 {
        let mut shop: Shop = program.spawn()?;
        let at = shop.listens().await?;
        let post = async |who, key: &str, body| -> anyhow::Result<(Answer, bool)> {
            let answer = send(at, &order(who, key, body), Manner::Whole).await?;
            Ok(answer.unwrap())
        };
        for (who, order_no) in [("ann", 1), ("bob", 2)] {
            for again in [start > 0, true] {
                let (answer, replayed) = post(who, "A-1", ORDER).await?;
                assert_eq!((answer.status, replayed), (201, again), "{answer:?}");
                let location = format!("/orders/{order_no}");
                assert_eq!(answer.header("location"), Some(&*location), "{answer:?}");
                let placed = format!(r#"{{"order_no":{order_no},"sku":"TEA","qty":2}}"#);
                assert_eq!(answer.body, placed);
            }
        }
        // What is wrong with an order is told again; what is no order can be mended.
        for _ in 0..2 {
            let (answer, _) = post("ann", "A-2", r#"{"sku":"TEA","qty":0}"#).await?;
            assert_eq!(answer.status, 422, "{answer:?}");
        }
        let key = format!("A-3{start}");
        let (answer, _) = post("ann", &key, r#"{"sku":"TEA"}"#).await?;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(post("ann", &key, ORDER).await?.0.status, 201);
        shop.kill().await?;
    }
    let book = std::fs::read_to_string(data.path().join("orders.jsonl"))?;
    assert_eq!(book.lines().count(), 4, "{book}");
    assert!(!book.contains("ann"), "a token is a secret: {book}");
    Ok(())
}
