//! The ledger on a real Redis, beside bare scripts on a connection a caller:
//! `cargo xtask bench --bench redis`, or one part of it with `-- duplicates`.
//!
//! A first call is two writes that wait for each other, as its reference is: a script that claims, and one
//! that completes. `always` is synced to the disk before each answer, `everysec` is not.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idem_benches::orders::{PlaceOrder, delivery, first_calls, rate};
use idem_benches::redis::{Bare, Data, open};
use idem_benches::report::row;
use idem_benches::rounds::in_turns;
use idem_runtime::{Error, Idem, idempotent};
use tokio::runtime::Runtime;

const ROUNDS: usize = 5;
const FSYNCS: [&str; 2] = ["always", "everysec"];
/// Records whose memory is counted.
const COUNTED: u64 = 20_000;

/// What the parts have in common.
struct Bench {
    runtime: Runtime,
    data: Data,
    /// The first number that no call has had.
    next: Cell<u64>,
}

/// Measures one part, and prints it.
type Part = fn(&Bench);

fn main() {
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let bench = Bench {
        data: runtime.block_on(Data::start()).unwrap(),
        runtime,
        next: Cell::new(0),
    };
    let parts: [(&str, Part); 3] = [
        ("first calls", first),
        ("duplicates", duplicates),
        ("memory", memory),
    ];
    for (name, part) in parts {
        if given.is_empty() || given.iter().any(|given| name.contains(given)) {
            part(&bench);
        }
    }
}

impl Bench {
    fn numbers(&self, count: u64) -> Range<u64> {
        let first = self.next.replace(self.next.get() + count);
        first..first + count
    }

    fn idem(&self, name: &str) -> Idem {
        self.runtime.block_on(open(self.data.url(), name)).unwrap()
    }

    fn bare(&self, callers: usize) -> Bare {
        let connecting = Bare::connect(self.data.url(), callers);
        self.runtime.block_on(connecting).unwrap()
    }

    fn fsync(&self, fsync: &str) {
        let setting = format!("CONFIG SET appendfsync {fsync}");
        self.runtime
            .block_on(self.data.tell::<()>(&setting))
            .unwrap();
    }
}

fn first(bench: &Bench) {
    let idem = bench.idem("bench");
    for fsync in FSYNCS {
        bench.fsync(fsync);
        for (callers, count, to_reach) in [(1, 300, "≥ 0.9"), (64, 10_000, "≥ 1.5")] {
            let (bare, on) = (bench.bare(callers), &bench.runtime);
            let [ours, reference] = in_turns(
                ROUNDS,
                [
                    &mut || on.block_on(first_calls(&idem, bench.numbers(count), callers)),
                    &mut || on.block_on(bare.claim_and_complete(bench.numbers(count), callers)),
                ],
            );
            let what = format!("Redis, {fsync}: first calls, {callers} callers");
            let beside = ("a script to claim, one to complete", reference);
            row(what, "calls/s", ours, beside, to_reach);
        }
    }
}

fn duplicates(bench: &Bench) {
    let (idem, on) = (bench.idem("bench"), &bench.runtime);
    bench.fsync("everysec");
    let done = bench.numbers(20_000);
    on.block_on(first_calls(&idem, done.clone(), 128));
    on.block_on(bench.bare(32).claim_and_complete(done.clone(), 32));
    for (callers, count) in [(1, 4_000), (64, 20_000)] {
        let bare = bench.bare(callers);
        let [ours, reference] = in_turns(
            ROUNDS,
            [
                &mut || on.block_on(first_calls(&idem, done.start..done.start + count, callers)),
                &mut || on.block_on(bare.read(done.start..done.start + count, callers)),
            ],
        );
        let what = format!("Redis: duplicates of finished keys, {callers} callers");
        row(what, "calls/s", ours, ("GET", reference), "≥ 0.9");
    }
}

/// Counts the bytes of a record in each of its states, with all that belongs to it.
fn memory(bench: &Bench) {
    bench.fsync("no");
    let (on, data) = (&bench.runtime, &bench.data);
    let count = |what: &str, name: &str, work: &dyn Fn(&Idem, Range<u64>)| {
        let idem = bench.idem(name);
        // Its connections are made, and their buffers are as large as they become.
        on.block_on(first_calls(&idem, bench.numbers(1_000), 64));
        let before = on.block_on(data.used_memory()).unwrap();
        work(&idem, bench.numbers(COUNTED));
        let grown = on.block_on(data.used_memory()).unwrap() - before;
        let beside = (
            "MEMORY USAGE of a row",
            on.block_on(data.row(name)).unwrap(),
        );
        let what = format!("Redis: memory of {what}");
        row(what, "bytes", grown / COUNTED as f64, beside, "");
    };
    count("a finished record", "finished", &|idem, numbers| {
        on.block_on(first_calls(idem, numbers, 64));
    });
    count("a dead one with its letter", "dead", &|idem, numbers| {
        let refusing = rate(numbers, 64, |number| {
            let idem = idem.clone();
            async move { drop(idem.scope(refuse(delivery(number))).await) }
        });
        on.block_on(refusing);
    });
    count("a running one", "running", &|idem, numbers| {
        for number in numbers {
            let idem = idem.clone();
            on.spawn(async move { idem.scope(hold(delivery(number))).await });
        }
        on.block_on(async {
            while HELD.load(Ordering::Relaxed) < COUNTED {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    });
}

/// A body that refuses each order.
#[idempotent(name = "orders.refuse", key = "order_no", retries = 0)]
async fn refuse(order: PlaceOrder) -> anyhow::Result<()> {
    anyhow::bail!("{} is sold out", order.sku)
}

/// How many bodies of [`hold`] run.
static HELD: AtomicU64 = AtomicU64::new(0);

/// A body that never ends.
#[idempotent(name = "orders.hold", key = "order_no")]
async fn hold(order: PlaceOrder) -> Result<(), Error> {
    HELD.fetch_add(1, Ordering::Relaxed);
    drop(order);
    std::future::pending().await
}
