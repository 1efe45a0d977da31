//! Requests a second through the layer, over the loopback: first calls beside the same handler
//! called without HTTP, and replays beside the same route without the layer. Clients, server and
//! ledger share the processors.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::cell::Cell;
use std::ops::Range;
use std::time::Instant;

use idem_benches::orders::{delivery, placed};
use idem_benches::report::Row;
use idem_benches::rounds::in_turns;
use idem_benches::web::{self, orders, serve};
use idem_http::{IdempotencyLayer, Scope};
use idem_runtime::{Error, HandlerDef, Idem};
use tokio::task::JoinSet;

const CACHE: u64 = 128 << 20;
/// How many connections there are, and how many first calls and replays a round has.
const CONNECTIONS: [(u64, u64, u64); 2] = [(1, 500, 4_000), (64, 8_000, 20_000)];
const ROUNDS: usize = 9;

/// The same handler, called by so many callers, each one after the other. Returns how many a second.
async fn without_http(idem: &Idem, place: &HandlerDef, callers: u64, numbers: Range<u64>) -> f64 {
    let (start, count) = (Instant::now(), numbers.end - numbers.start);
    let calling = (0..callers).map(|caller| {
        let (idem, place) = (idem.clone(), *place);
        let numbers = numbers.clone().skip(caller as usize);
        async move {
            for number in numbers.step_by(callers as usize) {
                let order = delivery(number);
                let call = idem.call(&place).key(&order.order_no).payload(&order);
                let body = || async { Ok::<_, Error>(placed(order.clone())) };
                call.run(body).await.unwrap();
            }
        }
    });
    calling.collect::<JoinSet<()>>().join_all().await;
    count as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let open = |name| Idem::builder().cache(CACHE).open(folder.path().join(name));
    let (behind, without) = (open("behind").unwrap(), open("without").unwrap());
    let layer = IdempotencyLayer::builder(&behind, "http.orders", Scope::bearer())
        .build()
        .unwrap();
    let (layered, bare) =
        runtime.block_on(async { (serve(orders().layer(layer)).await, serve(orders()).await) });
    let place = HandlerDef::builder("bench.orders").build().unwrap();
    let placed = [const { Cell::new(0) }; 2];
    for (connections, first_calls, replays) in CONNECTIONS {
        let next = |side: usize| {
            let first = placed[side].replace(placed[side].get() + first_calls);
            first..first + first_calls
        };
        let over_http =
            |at, numbers, replayed| runtime.block_on(web::rate(at, connections, numbers, replayed));
        let [ours, called] = in_turns(
            ROUNDS,
            [&mut || over_http(layered, next(0), false), &mut || {
                runtime.block_on(without_http(&without, &place, connections, next(1)))
            }],
        );
        let again = || {
            let last = placed[0].get();
            last - replays.min(last)..last
        };
        let [replayed, passed] = in_turns(
            ROUNDS,
            [&mut || over_http(layered, again(), true), &mut || {
                over_http(bare, again(), false)
            }],
        );
        for (what, ours, beside, to_reach) in [
            (
                "first requests",
                ours,
                ("the same handler called without HTTP", called),
                "≥ 0.8",
            ),
            (
                "replays",
                replayed,
                ("the same route without the layer", passed),
                "≥ 0.6",
            ),
            (
                "first requests",
                ours,
                ("the same route without the layer", passed),
                "",
            ),
        ] {
            Row {
                bench: format!("{what}, {connections} connections"),
                unit: "requests/s",
                ours,
                beside: Some(beside),
                to_reach,
            }
            .print();
        }
    }
}
