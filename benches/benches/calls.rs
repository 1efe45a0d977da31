//! What a call costs beside sled itself, in one run: `cargo xtask bench`.
//!
//! A duplicate against a bare read of the same record; a first call against a bare loop of the same two durable writes
//! with the same group commit.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run measures nothing")]

use std::time::{Duration, Instant};

use criterion::Criterion;
use futures_util::stream::{self, StreamExt};
use idem_benches::bare::Bare;
use idem_benches::report::Pair;
use idem_runtime::{Error, Idem, idempotent};
use serde::{Deserialize, Serialize};

const RECORDS: u64 = 100_000;
const CALLERS: [usize; 3] = [1, 16, 64];

#[derive(Debug, Clone, Serialize, Deserialize)]
struct PlaceOrder {
    order_no: String,
    sku: String,
    qty: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    order_no: String,
    sku: String,
    qty: u32,
    total_cents: u64,
}

#[idempotent(name = "orders.place", key = "order_no")]
async fn place_order(order: PlaceOrder) -> Result<Order, Error> {
    Ok(placed(order))
}

fn delivery(number: u64) -> PlaceOrder {
    // Order numbers as shops have them: not in the order of their bytes.
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    PlaceOrder { order_no: format!("A-{scattered:016x}"), sku: "TEA-500".to_owned(), qty: 2 }
}

fn placed(order: PlaceOrder) -> Order {
    let PlaceOrder { order_no, sku, qty } = order;
    Order { order_no, sku, qty, total_cents: u64::from(qty) * 1250 }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

fn duplicates(criterion: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path().join("idem")).unwrap();
    let bare = sled::Config::new().path(folder.path().join("bare")).cache_capacity(256 << 20).open().unwrap();
    runtime.block_on(idem.scope(async {
        let calls = stream::iter(0..RECORDS).map(|number| place_order(delivery(number)));
        calls.buffer_unordered(512).for_each(|placed| async { drop(placed.unwrap()) }).await;
    }));
    for number in 0..RECORDS {
        let order = delivery(number);
        bare.insert(order.order_no.clone(), serde_json::to_vec(&placed(order)).unwrap()).unwrap();
    }
    bare.flush().unwrap();
    let mut group = criterion.benchmark_group("duplicate");
    group.bench_function("bare", |bencher| {
        bencher.iter_batched(
            || delivery(fastrand::u64(..RECORDS)),
            |order| {
                let json = bare.get(&order.order_no).unwrap().unwrap();
                serde_json::from_slice::<Order>(&json).unwrap()
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("idem", |bencher| {
        bencher.iter_batched(
            || delivery(fastrand::u64(..RECORDS)),
            |order| idem.sync_scope(|| pollster::block_on(place_order(order)).unwrap()),
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Runs `count` messages with so many in flight, each a task of its own, and says how long all of them took.
async fn timed<F: Future<Output = ()> + Send + 'static>(
    count: u64,
    callers: usize,
    call: impl Fn(u64) -> F,
) -> Duration {
    let start = Instant::now();
    let calls = stream::iter(0..count).map(|number| tokio::spawn(call(number)));
    calls.buffer_unordered(callers).for_each(|ended| async { ended.unwrap() }).await;
    start.elapsed()
}

fn first_calls(criterion: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path().join("idem")).unwrap();
    let bare = std::sync::Arc::new(Bare::open(&folder.path().join("bare")));
    let mut next = 0;
    let mut numbers = |count: u64| {
        next += count;
        next - count
    };
    for callers in CALLERS {
        let mut group = criterion.benchmark_group(group(callers));
        group.sample_size(20).measurement_time(Duration::from_secs(6));
        group.bench_function("bare", |bencher| {
            bencher.iter_custom(|count| {
                let start = numbers(count);
                runtime.block_on(timed(count, callers, |number| {
                    let (bare, order) = (std::sync::Arc::clone(&bare), delivery(start + number));
                    async move {
                        let key = order.order_no.clone().into_bytes();
                        bare.put(key.clone(), serde_json::to_vec(&order).unwrap()).await;
                        bare.put(key, serde_json::to_vec(&placed(order)).unwrap()).await;
                    }
                }))
            });
        });
        group.bench_function("idem", |bencher| {
            bencher.iter_custom(|count| {
                let start = numbers(count);
                runtime.block_on(timed(count, callers, |number| {
                    let (idem, order) = (idem.clone(), delivery(start + number));
                    async move { drop(idem.scope(place_order(order)).await.unwrap()) }
                }))
            });
        });
        group.finish();
    }
}

fn group(callers: usize) -> String {
    format!("first call, {callers} callers")
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    duplicates(&mut criterion);
    first_calls(&mut criterion);
    criterion.final_summary();
    println!();
    let duplicate = format!("a duplicate, {RECORDS} records");
    Pair { bench: duplicate, group: "duplicate".to_owned(), throughput: false }.print();
    for callers in CALLERS {
        Pair { bench: group(callers), group: group(callers), throughput: true }.print();
    }
}
