//! First calls a second, each two durable writes, beside a bare loop of the same two writes with
//! the same group commit, and beside the disk itself.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::cell::Cell;
use std::sync::Arc;

use idem_benches::bare::Bare;
use idem_benches::orders::{delivery, first_calls, placed, rate};
use idem_benches::report::Row;
use idem_benches::rounds::in_turns;
use idem_runtime::Idem;
use idem_runtime::ledger::Engine;

const CACHE: u64 = 128 << 20;
/// How many callers there are, and how many calls a round has, about a second each.
const CALLERS: [(usize, u64); 4] = [(1, 800), (16, 6_000), (64, 20_000), (256, 30_000)];
const ROUNDS: usize = 9;

async fn bare_calls(bare: &Arc<Bare>, numbers: std::ops::Range<u64>, callers: usize) -> f64 {
    rate(numbers, callers, |number| {
        let (bare, order) = (Arc::clone(bare), delivery(number));
        async move {
            let key = order.order_no.clone().into_bytes();
            bare.put(key.clone(), serde_json::to_vec(&order).unwrap())
                .await;
            bare.put(key, serde_json::to_vec(&placed(order)).unwrap())
                .await;
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
    let [idem, on_fjall] = [Engine::Sled, Engine::Fjall].map(|engine| {
        let path = folder.path().join(format!("idem on {}", engine.name()));
        let idem = Idem::builder().cache(CACHE).engine(engine).open(path);
        idem.unwrap()
    });
    let sled = Arc::new(Bare::sled(&folder.path().join("sled"), CACHE));
    let file = Arc::new(Bare::file(&folder.path().join("file")));
    let next = [const { Cell::new(0) }; 4];
    for (callers, count) in CALLERS {
        let numbers = |side: usize| {
            let first = next[side].replace(next[side].get() + count);
            first..first + count
        };
        let [ours, fjall, bare, disk] = in_turns(
            ROUNDS,
            [
                &mut || runtime.block_on(first_calls(&idem, numbers(0), callers)),
                &mut || runtime.block_on(first_calls(&on_fjall, numbers(1), callers)),
                &mut || runtime.block_on(bare_calls(&sled, numbers(2), callers)),
                &mut || runtime.block_on(bare_calls(&file, numbers(3), callers)),
            ],
        );
        let row = |beside, to_reach| {
            let bench = format!("first calls, {callers} callers");
            Row {
                bench,
                unit: "calls/s",
                ours,
                beside: Some(beside),
                to_reach,
            }
            .print();
        };
        row(("group commit on bare sled", bare), "≥ 0.9");
        row(("one fdatasync a group, no ledger", disk), "");
        Row {
            bench: format!("first calls, {callers} callers, on fjall"),
            unit: "calls/s",
            ours: fjall,
            beside: Some(("on sled", ours)),
            to_reach: match callers {
                64 => "≥ 1.15",
                256 => "≥ 1.3",
                _ => "",
            },
        }
        .print();
    }
}
