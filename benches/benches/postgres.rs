//! The ledger on a real PostgreSQL that waits for its disk, beside bare statements of sqlx on a
//! connection a caller: `cargo xtask bench --bench postgres`, or one part of it with `-- duplicates`.
//! `-- delay=1000` makes each commit take a millisecond longer.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Lines, Write};
use std::ops::Range;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idem_benches::orders::{PlaceOrder, delivery, first_calls, rate};
use idem_benches::postgres::{Bare, Database, Failed, open, place_counted, place_single};
use idem_benches::report::{Row, row};
use idem_benches::rounds::in_turns;
use idem_runtime::{Error, Idem, idempotent};
use idem_test_support::servers::Trips;
use tokio::runtime::Runtime;

const ROUNDS: usize = 5;
const PROCESSES: usize = 8;
const WAITING: usize = 1_000;
/// Of the calls whose trips and WAL are counted.
const COUNTED: u64 = 500;

/// What the parts have in common.
struct Bench {
    runtime: Runtime,
    database: Database,
    /// The first number that no call has had.
    next: Cell<u64>,
}

/// Measures one part, and prints it.
type Part = fn(&Bench);

fn main() {
    let mut given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if let [what @ ("calls" | "hold"), url] = &*given.iter().map(String::as_str).collect::<Vec<_>>()
    {
        return child(what, url);
    }
    let runtime = runtime();
    let delay: Vec<_> = given
        .extract_if(.., |given| given.starts_with("delay="))
        .collect();
    let delay = delay.first().and_then(|delay| delay.strip_prefix("delay="));
    let settings = [
        ("shared_buffers", "256MB"),
        ("max_wal_size", "2GB"),
        // Microseconds, for each commit whether or not others are under way.
        ("commit_delay", delay.unwrap_or("0")),
        ("commit_siblings", "0"),
    ];
    let bench = Bench {
        database: runtime.block_on(Database::start(&settings)).unwrap(),
        runtime,
        next: Cell::new(0),
    };
    let parts: [(&str, Part); 6] = [
        ("first calls", first),
        ("duplicates", duplicates),
        ("transactions", transactions),
        ("processes", processes),
        ("waiting", waiting),
        ("costs", costs),
    ];
    for (name, part) in parts {
        if given.is_empty() || given.iter().any(|given| name.contains(given)) {
            part(&bench);
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

impl Bench {
    fn numbers(&self, count: u64) -> Range<u64> {
        let first = self.next.replace(self.next.get() + count);
        first..first + count
    }

    fn idem(&self, transactions: u32) -> Idem {
        let url = self.database.url();
        self.runtime.block_on(open(&url, transactions)).unwrap()
    }

    fn bare(&self, callers: usize) -> Bare {
        let url = self.database.url();
        self.runtime.block_on(Bare::connect(&url, callers)).unwrap()
    }
}

fn first(bench: &Bench) {
    let idem = bench.idem(1);
    for (callers, count, to_reach) in [
        (1, 100, "≥ 0.9"),
        (16, 1_000, "≥ 1.5"),
        (64, 4_000, "≥ 2"),
        (256, 8_000, "≥ 3"),
    ] {
        let (bare, on) = (bench.bare(callers), &bench.runtime);
        let [ours, reference] = in_turns(
            ROUNDS,
            [
                &mut || on.block_on(first_calls(&idem, bench.numbers(count), callers)),
                &mut || on.block_on(bare.claim_and_complete(bench.numbers(count), callers)),
            ],
        );
        let beside = ("INSERT … ON CONFLICT, then UPDATE", reference);
        let what = format!("PostgreSQL: first calls, {callers} callers");
        row(what, "calls/s", ours, beside, to_reach);
    }
    hot(bench);
}

/// Says how many of the completions were heap-only.
fn hot(bench: &Bench) {
    let of = |table| {
        let counts = format!(
            "SELECT n_tup_hot_upd::float8 / nullif(n_tup_upd, 0) FROM pg_stat_user_tables
                WHERE relid = '{table}'::regclass"
        );
        bench
            .runtime
            .block_on(bench.database.number(&counts))
            .unwrap()
    };
    // Sessions tell the server of it within a second.
    std::thread::sleep(Duration::from_secs(2));
    let what = "PostgreSQL: heap-only updates among all".to_owned();
    let beside = ("the bare table, with the same fillfactor", of("bare"));
    row(what, "of 1", of("idem.record"), beside, "");
}

fn duplicates(bench: &Bench) {
    let (idem, on) = (bench.idem(1), &bench.runtime);
    let done = bench.numbers(20_000);
    on.block_on(first_calls(&idem, done.clone(), 128));
    on.block_on(bench.bare(32).claim_and_complete(done.clone(), 32));
    on.block_on(bench.database.run("VACUUM ANALYZE")).unwrap();
    for (callers, count) in [(1, 2_000), (64, 20_000)] {
        let bare = bench.bare(callers);
        let [ours, reference] = in_turns(
            ROUNDS,
            [
                &mut || on.block_on(first_calls(&idem, done.start..done.start + count, callers)),
                &mut || on.block_on(bare.read(done.start..done.start + count, callers)),
            ],
        );
        let what = format!("PostgreSQL: duplicates of finished keys, {callers} callers");
        row(what, "calls/s", ours, ("SELECT by key", reference), "≥ 0.9");
    }
}

/// Calls of a handler that places the order in its transaction.
async fn placing<F: Future<Output = Result<R, Failed>> + Send + 'static, R>(
    idem: &Idem,
    numbers: Range<u64>,
    callers: usize,
    place: fn(PlaceOrder) -> F,
) -> f64 {
    rate(numbers, callers, |number| {
        let idem = idem.clone();
        async move { drop(idem.scope(place(delivery(number))).await.unwrap()) }
    })
    .await
}

fn transactions(bench: &Bench) {
    let on = &bench.runtime;
    for (callers, count, single_to_reach, counted_to_reach) in
        [(1, 100, "≤ 1.25", "≤ 2.1"), (16, 1_000, "≤ 1.8", "")]
    {
        let (idem, bare) = (bench.idem(16), bench.bare(callers));
        let [single, counted, reference] = in_turns(
            ROUNDS,
            [
                &mut || on.block_on(placing(&idem, bench.numbers(count), callers, place_single)),
                &mut || on.block_on(placing(&idem, bench.numbers(count), callers, place_counted)),
                &mut || on.block_on(bare.place(bench.numbers(count), callers)),
            ],
        );
        let micros = |rate: f64| 1e6 * callers as f64 / rate;
        for (mode, ours, to_reach) in [
            ("single", single, single_to_reach),
            ("counted", counted, counted_to_reach),
        ] {
            let what = format!("PostgreSQL: a call with a transaction, {mode}, {callers} callers");
            let beside = ("BEGIN, the business INSERT, COMMIT", micros(reference));
            row(what, "µs", micros(ours), beside, to_reach);
        }
    }
}

fn processes(bench: &Bench) {
    let mut children: Vec<_> = (0..PROCESSES)
        .map(|_| Process::start("calls", bench))
        .collect();
    for (callers, count) in [(1, 100), (16, 1_000)] {
        let calls = |count: u64, processes: usize| {
            let children = &mut children[..processes];
            for child in &mut *children {
                let numbers = bench.numbers(count);
                child.say(&format!("{} {} {callers}", numbers.start, numbers.end));
            }
            let rates = children
                .iter_mut()
                .map(|child| child.hear().parse::<f64>().unwrap());
            rates.sum()
        };
        let calls = RefCell::new(calls);
        let [all, one] = in_turns(
            ROUNDS,
            [
                &mut || calls.borrow_mut()(count / 2, PROCESSES),
                &mut || calls.borrow_mut()(count, 1),
            ],
        );
        let what = format!("PostgreSQL: first calls, {PROCESSES} processes of {callers} callers");
        row(what, "calls/s", all, ("one process", one), "≥ 2");
    }
}

fn waiting(bench: &Bench) {
    let (idem, on) = (bench.idem(1), &bench.runtime);
    let mut holder = Process::start("hold", bench);
    let held = bench.numbers(WAITING as u64);
    holder.say(&format!("{} {} 0", held.start, held.end));
    assert_eq!(holder.hear(), "held");
    let count = 4_000;
    let [with, without] = in_turns(
        ROUNDS,
        [
            &mut || {
                on.block_on(async {
                    let calls = held.clone().map(|number| {
                        let idem = idem.clone();
                        tokio::spawn(async move {
                            let _ = idem.scope(hold(delivery(number))).await;
                        })
                    });
                    let calls: Vec<_> = calls.collect();
                    // All of them have asked once before these are through.
                    first_calls(&idem, bench.numbers(count / 2), 64).await;
                    let rate = first_calls(&idem, bench.numbers(count), 64).await;
                    calls.iter().for_each(tokio::task::JoinHandle::abort);
                    rate
                })
            },
            &mut || on.block_on(first_calls(&idem, bench.numbers(count), 64)),
        ],
    );
    let what = format!("PostgreSQL: first calls beside {WAITING} waiting duplicates, 64 callers");
    row(what, "calls/s", with, ("without them", without), "≥ 0.95");
}

/// Counts the round trips and the WAL of each operation.
fn costs(bench: &Bench) {
    let (on, database) = (&bench.runtime, &bench.database);
    let trips = on.block_on(Trips::before(&database.url())).unwrap();
    let idem = on.block_on(open(trips.url(), 16)).unwrap();
    let connect = Bare::connect(trips.url(), 64);
    let bare = on.block_on(connect).unwrap();
    let count = |what: &str, callers: usize, work: &dyn Fn(Range<u64>) -> f64| {
        // Statements are prepared, and the pages were written whole.
        work(bench.numbers(COUNTED));
        let before = (trips.count(), on.block_on(database.wal()).unwrap());
        work(bench.numbers(COUNTED));
        let after = (trips.count(), on.block_on(database.wal()).unwrap());
        let each = |all: f64| all / COUNTED as f64;
        for (unit, ours) in [
            ("round trips", each((after.0 - before.0) as f64)),
            ("bytes of WAL", each(after.1 - before.1)),
        ] {
            let bench = format!("PostgreSQL: {unit} of {what}, {callers} callers");
            Row {
                bench,
                unit: "",
                ours,
                beside: None,
                to_reach: "",
            }
            .print();
        }
    };
    for callers in [1, 16, 64] {
        count("a first call", callers, &|numbers| {
            on.block_on(first_calls(&idem, numbers, callers))
        });
        count("INSERT, then UPDATE", callers, &|numbers| {
            on.block_on(bare.claim_and_complete(numbers, callers))
        });
        let done = bench.numbers(COUNTED);
        on.block_on(first_calls(&idem, done.clone(), 64));
        count("a duplicate", callers, &|_| {
            on.block_on(first_calls(&idem, done.clone(), callers))
        });
    }
    for callers in [1, 16] {
        count("a call, single", callers, &|numbers| {
            on.block_on(placing(&idem, numbers, callers, place_single))
        });
        count("a call, counted", callers, &|numbers| {
            on.block_on(placing(&idem, numbers, callers, place_counted))
        });
        count("the business transaction", callers, &|numbers| {
            on.block_on(bare.place(numbers, callers))
        });
    }
}

/// Another process on the same database.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(what: &str, bench: &Bench) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([what, &bench.database.url()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, lines };
        assert_eq!(process.hear(), "open");
        process
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn hear(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn child(what: &str, url: &str) {
    let runtime = runtime();
    let idem = runtime.block_on(open(url, 1)).unwrap();
    println!("open");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let [first, end, callers] = numbers[..] else {
            panic!("{line}");
        };
        if what == "calls" {
            let callers = usize::try_from(callers).unwrap();
            println!(
                "{}",
                runtime.block_on(first_calls(&idem, first..end, callers))
            );
            continue;
        }
        for number in first..end {
            let idem = idem.clone();
            runtime.spawn(async move { idem.scope(hold(delivery(number))).await });
        }
        runtime.block_on(async {
            while HELD.load(Ordering::Relaxed) < end - first {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        println!("held");
    }
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
