//! Messages a second through a real broker, 64 in flight: `cargo xtask bench --bench brokers`. An
//! annotated handler on the embedded ledger, beside the broker's own client that acks and does
//! nothing else, beside that client with the two durable writes a message that no ledger can do
//! without, beside the same consumer with a handler that does nothing, and beside the same calls
//! without any broker; then a million messages once more, which all are duplicates.
//! `REPLAYED=10000` replays fewer. `-- profiled` only takes messages of NATS, on fjall, for a profiler.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

use std::cell::Cell;
use std::time::{Duration, Instant};

use idem_benches::bare::Bare;
use idem_benches::orders::{PlaceOrder, first_calls, place_order};
use idem_benches::queues::{NatsQueues, Queues, RabbitQueues};
use idem_benches::report::Row;
use idem_benches::rounds::in_turns;
use idem_brokers::Consumer;
use idem_runtime::ledger::Engine;
use idem_runtime::{Error, Idem};
use serde::Serialize;
use tokio::runtime::Runtime;

const IN_FLIGHT: usize = 64;
/// A second or so.
const MESSAGES: u64 = 10_000;
const ROUNDS: usize = 7;
const REPLAYED: u64 = 1_000_000;
const PROFILED: u64 = 100_000;

/// Returns how long a consumer takes for this many messages.
async fn settle<
    F: Future<Output = Result<R, Error>> + Send + 'static,
    R: Serialize + Send + 'static,
>(
    idem: &Idem,
    source: impl idem_brokers::Source,
    messages: u64,
    handler: impl Fn(PlaceOrder) -> F + Send + Sync + 'static,
) -> Duration {
    let start = Instant::now();
    let consumer = Consumer::new(idem, source)
        .in_flight(IN_FLIGHT)
        .start(handler);
    while consumer.settled() < messages {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = start.elapsed();
    consumer.stop(Duration::from_secs(10)).await;
    took
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn rate(messages: u64, took: Duration) -> f64 {
    messages as f64 / took.as_secs_f64()
}

/// Returns how long the broker's own client takes for them, with this many in flight.
async fn own(
    queues: &impl Queues,
    queue: &str,
    messages: u64,
    at_a_time: usize,
    work: impl AsyncFn(&[u8]),
) -> Duration {
    let start = Instant::now();
    queues.own(queue, messages, at_a_time, work).await.unwrap();
    start.elapsed()
}

/// It only acks.
async fn bare(queues: &impl Queues, queue: &str, messages: u64) -> Duration {
    own(queues, queue, messages, 1, async |_| {}).await
}

/// Nothing is recorded, and the message is acked.
async fn nothing(_: PlaceOrder) -> Result<(), Error> {
    Ok(())
}

fn messages<Q: Queues>(runtime: &Runtime, [idem, on_fjall]: [&Idem; 2], disk: &Bare, first: u64) {
    let (queues, next) = (runtime.block_on(Q::start()).unwrap(), Cell::new(0));
    // Numbers that no queue has.
    let without = Cell::new(first + (1 << 31));
    let filled = || {
        let number = next.replace(next.get() + 1);
        let (name, from) = (format!("orders-{number}"), first + number * MESSAGES);
        runtime
            .block_on(queues.fill(&name, from..from + MESSAGES))
            .unwrap();
        name
    };
    let handled = |idem: &Idem| {
        let source = queues.source(&filled(), "idem");
        let took = runtime.block_on(settle(idem, source, MESSAGES, place_order));
        rate(MESSAGES, took)
    };
    let [ours, fjall, alone, empty, by_hand, bare] = in_turns(
        ROUNDS,
        [
            &mut || handled(idem),
            &mut || handled(on_fjall),
            &mut || {
                let numbers = without.replace(without.get() + MESSAGES)..without.get();
                runtime.block_on(first_calls(idem, numbers, IN_FLIGHT))
            },
            &mut || {
                let source = queues.source(&filled(), "idem");
                rate(
                    MESSAGES,
                    runtime.block_on(settle(idem, source, MESSAGES, nothing)),
                )
            },
            &mut || {
                let twice = async |message: &[u8]| {
                    disk.put(Vec::new(), message.to_vec()).await;
                    disk.put(Vec::new(), message.to_vec()).await;
                };
                rate(
                    MESSAGES,
                    runtime.block_on(own(&queues, &filled(), MESSAGES, IN_FLIGHT, twice)),
                )
            },
            &mut || {
                rate(
                    MESSAGES,
                    runtime.block_on(bare(&queues, &filled(), MESSAGES)),
                )
            },
        ],
    );
    let row = |beside, to_reach| {
        let bench = format!("messages of {}, {IN_FLIGHT} in flight", Q::NAME);
        Row {
            bench,
            unit: "messages/s",
            ours,
            beside: Some(beside),
            to_reach,
        }
        .print();
    };
    row(("its own client, that only acks", bare), "≥ 0.7");
    let two_writes = "its own client, two writes a message, one fdatasync a group";
    row((two_writes, by_hand), "");
    Row {
        bench: format!("messages of {}, {IN_FLIGHT} in flight, on fjall", Q::NAME),
        unit: "messages/s",
        ours: fjall,
        beside: Some((two_writes, by_hand)),
        to_reach: "≥ 0.6",
    }
    .print();
    row(("this consumer, a handler that does nothing", empty), "");
    row(("the same calls without a broker", alone), "");
}

fn replay(runtime: &Runtime, idem: &Idem, first: u64) {
    let messages = std::env::var("REPLAYED").map_or(REPLAYED, |text| text.parse().unwrap());
    let queues = runtime.block_on(NatsQueues::start()).unwrap();
    let (took, bare) = runtime.block_on(async {
        queues
            .fill("orders", first..first + messages)
            .await
            .unwrap();
        settle(idem, queues.source("orders", "once"), messages, place_order).await;
        let took = settle(
            idem,
            queues.source("orders", "again"),
            messages,
            place_order,
        )
        .await;
        (took, bare(&queues, "orders", messages).await)
    });
    let bench = format!("a replay of {messages} messages of NATS");
    let beside = Some(("its own client, that only acks", rate(messages, bare)));
    Row {
        bench,
        unit: "messages/s",
        ours: rate(messages, took),
        beside,
        to_reach: "",
    }
    .print();
}

/// Takes messages, and the queue was full before: a profiler sees the way of a message, and little else.
fn profiled(runtime: &Runtime, idem: &Idem) {
    let queues = runtime.block_on(NatsQueues::start()).unwrap();
    runtime
        .block_on(queues.fill("orders", 0..PROFILED))
        .unwrap();
    let source = queues.source("orders", "idem");
    let took = runtime.block_on(settle(idem, source, PROFILED, place_order));
    println!("{:.0} messages a second", rate(PROFILED, took));
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [idem, on_fjall] = [Engine::Sled, Engine::Fjall].map(|engine| {
        let path = folder.path().join(format!("idem on {}", engine.name()));
        Idem::builder().engine(engine).open(path).unwrap()
    });
    if std::env::args().any(|argument| argument == "profiled") {
        return profiled(&runtime, &on_fjall);
    }
    let disk = Bare::file(&folder.path().join("disk"));
    messages::<NatsQueues>(&runtime, [&idem, &on_fjall], &disk, 0);
    messages::<RabbitQueues>(&runtime, [&idem, &on_fjall], &disk, 1 << 32);
    replay(&runtime, &idem, 1 << 33);
}
