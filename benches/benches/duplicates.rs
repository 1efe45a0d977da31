//! What a duplicate costs, among 100,000 records and among a million: key, payload, fingerprint and
//! replay, beside a bare read and decode of the same record.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::hint::black_box;
use std::time::Instant;

use idem_benches::copied::Copied;
use idem_benches::orders::{Order, PlaceOrder, delivery, first_calls, place_order};
use idem_benches::report::Row;
use idem_benches::rounds::in_turns;
use idem_runtime::Idem;
use idem_runtime::ledger::Engine;

const CACHE: u64 = 128 << 20;
/// How many reads a round has, and how many rounds there are.
const READS: usize = 20_000;
const ROUNDS: usize = 15;

/// How many microseconds each of these takes.
fn each(orders: Vec<PlaceOrder>, mut read: impl FnMut(PlaceOrder) -> Order) -> f64 {
    let (start, count) = (Instant::now(), orders.len());
    for order in orders {
        black_box(read(order));
    }
    start.elapsed().as_secs_f64() * 1e6 / count as f64
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    for engine in [Engine::Sled, Engine::Fjall] {
        measure(engine, &runtime);
    }
}

fn measure(engine: Engine, runtime: &tokio::runtime::Runtime) {
    let (folder, on) = (tempfile::tempdir().unwrap(), engine.name());
    let idem = Idem::builder().cache(CACHE).engine(engine);
    let idem = idem.open(folder.path().join("idem")).unwrap();
    let bare = &folder.path().join("bare");
    let (bare, reads) = match engine {
        Engine::Fjall => (
            Copied::on_fjall(bare, CACHE),
            "get and decode on bare fjall",
        ),
        _ => (Copied::on_sled(bare, CACHE), "get and decode on bare sled"),
    };
    let mut filled = 0;
    for records in [100_000, 1_000_000] {
        runtime.block_on(first_calls(&idem, filled..records, 512));
        bare.copy(&idem, filled..records);
        filled = records;
        let orders = || {
            (0..READS)
                .map(|_| delivery(fastrand::u64(..records)))
                .collect::<Vec<_>>()
        };
        let [ours, reference] = in_turns(
            ROUNDS,
            [
                &mut || {
                    let orders = orders();
                    idem.sync_scope(|| {
                        each(orders, |order| {
                            pollster::block_on(place_order(order)).unwrap()
                        })
                    })
                },
                &mut || each(orders(), |order| bare.read(&order)),
            ],
        );
        let beside = Some((reads, reference));
        Row {
            bench: format!("a duplicate, {records} records, on {on}"),
            unit: "µs",
            ours,
            beside,
            to_reach: "≤ 1.5",
        }
        .print();
    }
}
