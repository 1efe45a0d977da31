//! The log while everything fails.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

mod written;

use idem_runtime::testing::temporary;
use idem_runtime::{Error, idempotent};

use written::Written;

#[derive(Debug, thiserror::Error)]
enum Oops {
    #[error("the database is away")]
    Away,
    #[error(transparent)]
    Idem(#[from] Error),
}

#[idempotent(name = "storm.place", key = "order_no", retries = 0)]
async fn place(order_no: u32) -> Result<(), Oops> {
    let _ = order_no;
    Err(Oops::Away)
}

/// Every message is in a line of its own or in a count, and nearly all of them in counts.
#[tokio::test]
async fn a_storm_of_failures_is_summed_up_and_its_end_is_said() {
    const ORDERS: usize = 2000;
    let log = Written::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let idem = temporary().unwrap();
    let orders = (0..ORDERS as u32).map(|order| idem.scope(place(order)));
    for placed in futures_util::future::join_all(orders).await {
        assert!(matches!(placed, Err(Oops::Away)));
    }
    log.until(|text| text.matches("the storm is over").count() >= 2);
    let text = log.text();
    let lines: Vec<_> = text.lines().collect();
    let with = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    for (line, left_out) in [
        ("attempt failed", "failed attempts: the storm is over; "),
        ("dead letter: ", "dead letters: the storm is over; "),
    ] {
        let counted: usize = lines
            .iter()
            .filter_map(|line| line.split_once(left_out)?.1.split(' ').next())
            .map(|count| count.parse::<usize>().unwrap())
            .sum();
        assert_eq!(with(line) + counted, ORDERS, "{lines:#?}");
    }
    let summary = lines
        .iter()
        .find(|line| line.contains("more failed attempts"))
        .unwrap();
    assert!(summary.contains("storm.place"), "{summary}");
    assert!(summary.contains("the database is away"), "{summary}");
    assert!(lines.len() < ORDERS / 10, "{lines:#?}");
}
