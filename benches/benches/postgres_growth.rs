//! First calls on PostgreSQL with ten million records, and expiry beside them: `cargo xtask bench
//! --bench postgres_growth`. It needs 8 GB of disk; `RECORDS=1000000` makes it smaller.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use idem_benches::orders::first_calls;
use idem_benches::postgres::{Database, open};
use idem_benches::report::row;
use idem_postgres::Postgres;
use idem_runtime::ledger::shared::Store;

const RECORDS: u64 = 10_000_000;
const SMALL: u64 = 10_000;
const A_PIECE: u64 = 500_000;
const CALLERS: usize = 64;
const CALLS: u64 = 20_000;
const ROUNDS: usize = 5;
/// What a sweep removes at a time.
const SWEPT: usize = 1_000;

/// Copies a settled record, to rows that expire over the next month.
fn fill(first: u64, last: u64) -> String {
    format!(
        "INSERT INTO idem.record
            (id, version, owner, claimed, bucket, due, live, handler, key, record)
        SELECT substr(sha256(convert_to('F-' || n, 'UTF8')), 1, 20), n, NULL, n,
            date_trunc('minute', f.due), f.due, false, handler, 'F-' || lpad(to_hex(n), 16, '0'),
            record
        FROM generate_series({first}, {last}) AS n,
            (SELECT handler, record FROM idem.record WHERE NOT live LIMIT 1) AS settled,
            LATERAL (SELECT clock_timestamp() + interval '1 day' + random() * interval '30 days'
                AS due) AS f
        ORDER BY 1;
        UPDATE idem.number SET last = greatest(last, {last})"
    )
}

/// A hundredth of them has expired.
const EXPIRE: &str = "UPDATE idem.record
    SET due = clock_timestamp() - interval '1 hour',
        bucket = date_trunc('minute', clock_timestamp() - interval '1 hour')
    WHERE version % 100 = 0 AND key LIKE 'F-%'";

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let records = std::env::var("RECORDS").map_or(RECORDS, |records| records.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let settings = [("shared_buffers", "1GB"), ("max_wal_size", "4GB")];
    let database = runtime.block_on(Database::start(&settings)).unwrap();
    let idem = runtime.block_on(open(&database.url(), 1)).unwrap();
    let next = Cell::new(0);
    let calls = || {
        let first = next.replace(next.get() + CALLS);
        runtime.block_on(first_calls(&idem, first..first + CALLS, CALLERS))
    };
    let rates = || median((0..ROUNDS).map(|_| calls()).collect());
    let run = |statements: &str| runtime.block_on(database.run(statements)).unwrap();

    runtime.block_on(first_calls(&idem, u64::MAX - 1..u64::MAX, 1));
    run(&fill(1, SMALL));
    // A new server's first calls are slower than those that follow.
    rates();
    let small = rates();
    for first in (SMALL + 1..=records).step_by(usize::try_from(A_PIECE).unwrap()) {
        run(&fill(first, records.min(first + A_PIECE - 1)));
    }
    run("VACUUM ANALYZE idem.record");
    run("CHECKPOINT");
    let large = rates();
    let what = format!("PostgreSQL: first calls, {CALLERS} callers, {records} records");
    row(what, "calls/s", large, ("itself at 10000", small), "≥ 0.6");

    run(EXPIRE);
    // What has expired is removed beside the calls, as fast as it goes.
    let store = runtime
        .block_on(Postgres::new(&database.url()).store())
        .unwrap();
    let (ends, mut took) = (AtomicBool::new(false), Vec::new());
    let (beside, took) = std::thread::scope(|scope| {
        let sweeps = scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                let start = Instant::now();
                let removed = runtime.block_on(store.remove_due(SWEPT)).unwrap();
                if removed == 0 {
                    break;
                }
                took.push(start.elapsed());
                // Ten thousand a second at most.
                std::thread::sleep(Duration::from_millis(100).saturating_sub(start.elapsed()));
            }
            took
        });
        let beside = rates();
        ends.store(true, Ordering::Relaxed);
        (beside, sweeps.join().unwrap())
    });
    let what = format!(
        "PostgreSQL: the same beside {} removals of {SWEPT} records",
        took.len()
    );
    row(what, "calls/s", beside, ("without them", large), "");
    if took.is_empty() {
        // Idem's own sweep was faster.
        return;
    }
    let millis: Vec<_> = took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
    let longest = millis.iter().copied().fold(0.0, f64::max);
    let what = format!("PostgreSQL: a removal of {SWEPT} records");
    row(what, "ms", median(millis), ("the longest", longest), "");
}
