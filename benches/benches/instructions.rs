//! How many CPU instructions idem adds to a handler with an empty body: `cargo xtask bench --bench instructions`.
//!
//! The bench runs itself under valgrind's callgrind with so many calls and with twice as many. The difference is what
//! the calls cost, whatever else the machine does; what the same calls cost without the attribute is taken away.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run measures nothing")]

use std::sync::Arc;

use idem_benches::callgrind;
use idem_benches::report::Row;
use idem_runtime::testing::{ManualClock, MemoryLedger};
use idem_runtime::{Error, Idem, idempotent};

/// Twice as many make a hash table of records grow once more, wherever it stands: growing is counted in full.
const CALLS: u64 = 5_000;

#[idempotent(name = "bench.empty", key = "order_no")]
async fn empty(order_no: String) -> Result<(), Error> {
    Ok(())
}

async fn without(order_no: String) -> Result<(), Error> {
    drop(order_no);
    Ok(())
}

/// What is counted: so many calls of one kind, on the thread that makes them.
fn calls(kind: &str, count: u64) {
    let clock = Arc::new(ManualClock::default());
    let idem = Idem::builder().clock(clock.clone()).ledger(Arc::new(MemoryLedger::new(clock))).unwrap();
    idem.sync_scope(|| {
        pollster::block_on(async {
            for number in 0..count {
                match kind {
                    "first" => empty(format!("A-{number:08}")).await.unwrap(),
                    "duplicate" => empty(format!("A-{:08}", number % 10)).await.unwrap(),
                    _ => without(format!("A-{number:08}")).await.unwrap(),
                }
            }
        });
    });
    // To forget all records at the end is no part of a call.
    std::mem::forget(idem);
}

/// The instructions of one call.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn counted(kind: &str) -> Result<f64, String> {
    let of = |count: u64| callgrind::instructions(&[kind, &count.to_string()]);
    Ok(of(2 * CALLS)?.saturating_sub(of(CALLS)?) as f64 / CALLS as f64)
}

fn main() {
    // What cargo adds for the bench itself, and whatever else starts with dashes, is not about what is counted.
    let given: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let [kind, count] = given.as_slice() {
        return calls(kind, count.parse().unwrap());
    }
    let rows = counted("without").and_then(|without| {
        Ok([
            ("instructions around an empty body, first call", counted("first")? - without, "≤ 6,000"),
            ("instructions around an empty body, duplicate", counted("duplicate")? - without, ""),
        ])
    });
    match rows {
        Ok(rows) => {
            for (bench, ours, to_reach) in rows {
                Row { bench: bench.to_owned(), unit: "", ours, beside: None, to_reach }.print();
            }
        }
        Err(why) => println!("instructions are not counted: {why}"),
    }
}
