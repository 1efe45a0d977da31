//! Messages a second of a handler of many (`each = "…"`), beside the same messages one by one.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::cell::Cell;
use std::ops::Range;
use std::time::{Duration, Instant};

use idem_benches::orders::{delivery, first_calls, place_orders, rate};
use idem_benches::report::Row;
use idem_benches::rounds::in_turns;
use idem_runtime::{Batches, Idem};

const BATCH: usize = 64;
const ROUNDS: usize = 9;

/// One caller, who has the messages in lists.
async fn in_lists(idem: &Idem, numbers: Range<u64>) -> f64 {
    let (start, count) = (Instant::now(), numbers.end - numbers.start);
    for first in numbers.step_by(BATCH) {
        let orders = (first..first + BATCH as u64).map(delivery).collect();
        for placed in idem.scope(place_orders(orders)).await {
            placed.unwrap();
        }
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// Many callers, each with one message.
async fn gathered(idem: &Idem, numbers: Range<u64>, callers: usize) -> f64 {
    let batches = Batches::new(BATCH, Duration::from_millis(5), place_orders);
    rate(numbers, callers, |number| {
        let (idem, batches) = (idem.clone(), batches.clone());
        async move {
            let placed = idem.scope(batches.call(delivery(number))).await;
            assert!(placed.is_ok(), "{placed:?}");
        }
    })
    .await
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    let next = Cell::new(0);
    let numbers = |count: u64| {
        let first = next.replace(next.get() + count);
        first..first + count
    };
    let print = |bench: &str, ours, beside, to_reach| {
        Row {
            bench: bench.to_owned(),
            unit: "messages/s",
            ours,
            beside: Some(("the same, one message a call", beside)),
            to_reach,
        }
        .print();
    };
    let [ours, single] = in_turns(
        ROUNDS,
        [
            &mut || runtime.block_on(in_lists(&idem, numbers(12_800))),
            &mut || runtime.block_on(first_calls(&idem, numbers(800), 1)),
        ],
    );
    print("lists of 64, 1 caller", ours, single, "≥ 3");
    let [ours, single] = in_turns(
        ROUNDS,
        [
            &mut || runtime.block_on(gathered(&idem, numbers(20_000), BATCH)),
            &mut || runtime.block_on(first_calls(&idem, numbers(20_000), BATCH)),
        ],
    );
    print("gathered from 64 callers", ours, single, "");
}
