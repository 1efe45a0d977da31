//! How many CPU instructions idem adds to a handler with an empty body: `cargo xtask bench --bench
//! instructions`.
//!
//! The bench runs itself under valgrind's callgrind with a number of calls and with twice as many.
//! The difference is the cost of the calls, independent of the machine's load. The cost of the same
//! calls without the attribute is subtracted.
//!
//! With `-- own`, it counts what `cargo xtask instructions` compares: code of idem's own and of what is
//! linked with it, which is the same whatever C library the machine has.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::hint::black_box;
use std::sync::Arc;

use http_body_util::BodyExt;
use idem_benches::callgrind::{self, Counts};
use idem_benches::copied::Copied;
use idem_benches::orders::{PlaceOrder, delivery, first_calls, place_order};
use idem_benches::report::Row;
use idem_benches::web::{orders, request};
use idem_http::{IdempotencyLayer, Scope};
use idem_runtime::testing::{ManualClock, MemoryLedger, open_on};
use idem_runtime::{Error, Idem, idempotent};
use tempfile::TempDir;
use tower_service::Service;

/// Twice as many make a hash table of records grow once more, wherever it stands: growing is
/// counted in full.
const CALLS: u64 = 5_000;

#[idempotent(name = "bench.empty", key = "order_no")]
async fn empty(order_no: String) -> Result<(), Error> {
    Ok(())
}

async fn without(order_no: String) -> Result<(), Error> {
    drop(order_no);
    Ok(())
}

/// Makes the counted calls, all of one kind, on one thread.
fn calls(kind: &str, count: u64) {
    let clock = Arc::new(ManualClock::default());
    let idem = open_on(
        Idem::builder().clock(clock.clone()),
        MemoryLedger::new(clock).of_one_process(),
    )
    .unwrap();
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
    // Freeing all records at the end is not part of a call.
    std::mem::forget(idem);
}

/// Sends the counted requests through the layer to a service that does nothing, without a server.
fn requests(kind: &str, count: u64) {
    let clock = Arc::new(ManualClock::default());
    let idem = open_on(
        Idem::builder().clock(clock.clone()),
        MemoryLedger::new(clock).of_one_process(),
    )
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let layer = IdempotencyLayer::builder(&idem, "bench.requests", Scope::bearer())
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut routed = match kind {
            "request" => orders(),
            _ => orders().layer(layer),
        };
        for number in 0..count {
            let number = if kind == "replay" {
                number % 10
            } else {
                number
            };
            let answer = routed.call(request(0, number)).await.unwrap();
            black_box(answer.into_body().collect().await.unwrap());
        }
    });
    std::mem::forget(idem);
}

/// As many records as fit sled's cache many times over.
const RECORDS: u64 = 1_000;
const CACHE: u64 = 16 << 20;

/// What duplicates are counted on. Another thread makes it, so that none of the making is counted.
struct Settled {
    idem: Idem,
    bare: Copied,
    orders: Vec<PlaceOrder>,
    /// Removed once all that is in it is closed.
    _folder: TempDir,
}

impl Settled {
    fn of(count: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let idem = Idem::builder()
            .cache(CACHE)
            .open(folder.path().join("idem"))
            .unwrap();
        let bare = Copied::on_sled(&folder.path().join("bare"), CACHE);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(first_calls(&idem, 0..RECORDS, 512));
        bare.copy(&idem, 0..RECORDS);
        let orders = (0..count)
            .map(|number| delivery(number % RECORDS))
            .collect();
        Self {
            idem,
            bare,
            orders,
            _folder: folder,
        }
    }
}

/// As [`calls`], of duplicates on the embedded ledger, or of reads on bare sled.
fn reads(kind: &str, count: u64) {
    let Settled {
        idem,
        bare,
        orders,
        _folder,
    } = std::thread::spawn(move || Settled::of(count))
        .join()
        .unwrap();
    idem.sync_scope(|| {
        for order in orders {
            black_box(match kind {
                "embedded" => pollster::block_on(place_order(order)).unwrap(),
                _ => bare.read(&order),
            });
        }
    });
}

/// The instructions of one call.
fn counted(kind: &str) -> Result<f64, String> {
    counted_as(kind, |counts| counts.all)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn counted_as(kind: &str, figure: fn(Counts) -> u64) -> Result<f64, String> {
    let of = |count: u64| callgrind::instructions(&[kind, &count.to_string()]).map(figure);
    Ok(of(2 * CALLS)?.saturating_sub(of(CALLS)?) as f64 / CALLS as f64)
}

/// What is compared, by what its calls come to without idem.
const OWN: [(Option<&str>, &[&str]); 3] = [
    (Some("without"), &["first", "duplicate"]),
    (None, &["embedded"]),
    (Some("request"), &["first request", "replay"]),
];

fn own() -> Result<(), String> {
    let own = |kind: &str| counted_as(kind, |counts| counts.own);
    for (bare, kinds) in OWN {
        let without = bare.map_or(Ok(0.0), own)?;
        for kind in kinds {
            Row {
                bench: (*kind).to_owned(),
                unit: "",
                ours: own(kind)? - without,
                beside: None,
                to_reach: "",
            }
            .print();
        }
    }
    Ok(())
}

fn main() {
    // What cargo adds for the bench itself, and whatever else starts with dashes, is not about what
    // is counted.
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if let [kind, count] = given.as_slice() {
        let count = count.parse().unwrap();
        return match kind.as_str() {
            "embedded" | "bare" => reads(kind, count),
            "first request" | "replay" | "request" => requests(kind, count),
            _ => calls(kind, count),
        };
    }
    let counted = if given == ["own"] {
        own()
    } else {
        rows().map(|rows| rows.iter().for_each(Row::print))
    };
    if let Err(why) = counted {
        println!("instructions are not counted: {why}");
    }
}

fn rows() -> Result<[Row; 5], String> {
    let without = counted("without")?;
    let row = |bench: &str, ours, beside, to_reach| Row {
        bench: bench.to_owned(),
        unit: "",
        ours,
        beside,
        to_reach,
    };
    let request = counted("request")?;
    let bare = Some(("get and decode on bare sled", counted("bare")?));
    Ok([
        row(
            "instructions around an empty body, first call",
            counted("first")? - without,
            None,
            "≤ 6,000",
        ),
        row(
            "instructions around an empty body, duplicate",
            counted("duplicate")? - without,
            None,
            "",
        ),
        row(
            "instructions of a duplicate, embedded ledger",
            counted("embedded")?,
            bare,
            "≤ 1.5",
        ),
        row(
            "instructions of the layer of idem-http, first request",
            counted("first request")? - request,
            None,
            "",
        ),
        row(
            "instructions of the layer of idem-http, replay",
            counted("replay")? - request,
            None,
            "",
        ),
    ])
}
