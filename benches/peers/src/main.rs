//! Idem beside what else Rust has for it: the same orders, the same runtime, the same callers, the
//! same disk, in turns. `cargo xtask bench --peers` runs it.
//!
//! Each of them places an order once, keeps the result under the order's number and gives it to
//! duplicates. First calls come from 64 callers at once; duplicates from one caller and from 64,
//! each asking one after the other for any order that was placed. Idem makes two durable writes for
//! a first call, the claim with its message and the result: both are on the disk (`fdatasync`)
//! before it goes on, in groups. Beside it, with what is not the same:
//!
//! - **cached** 4.1, the attribute on its redb store, durable as it is by default: redb's
//!   `Durability::Immediate`, one `fsync` a commit. It memoizes: one durable write, after the body.
//!   There is no claim before it, so duplicates that run at the same time may each run the body. It
//!   keeps no message, fingerprint or attempts.
//! - **durare** 0.5 on SQLite, a workflow under the order's number. It writes down the workflow's
//!   start with its input and its end; with a step, as its documentation has it, also the step. A
//!   duplicate is a write that changes nothing, and a read. It opens SQLite with a write-ahead log
//!   and `synchronous = NORMAL`: a commit survives the process, the last ones may not survive a
//!   power cut. `FULL` is the same pool with each commit synced, which is what idem promises. It
//!   has no fingerprint; it has steps, queues and timers, which idem has not.
//! - **idempotent** 2, claim and result, with a fingerprint of the message and fencing tokens. It
//!   answers duplicates of a running call with "in flight" (idem makes them wait), and keeps
//!   neither message nor attempts. Its memory store ends with the process. Its Valkey store is
//!   across a wire, here the loopback: once without persistence, which ends with the server, and
//!   once with the append-only file synced at each write, which its documentation names for
//!   durability; the server syncs once for all writes it found waiting.
//!
//! Requests are measured beside **axum-idempotent**: see `web`.
//!
//! Idem and `cached` write to one process's folder, durare to one machine's file; a Valkey server
//! serves many machines. So idem on Redis is measured beside `idempotent` on the same server, too: it
//! keeps the message and its attempts there, and counts what was written, by which it notices a loss.
//!
//! The server is `redis-server` or `valkey-server` from the `PATH`, started for this run on a port
//! of its own, or the one at `IDEM_REDIS_URL` with whatever persistence it has. Without either, its
//! rows say that they were not run.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

mod peer;
mod peers;
mod server;
mod web;

use std::env;

use idem_benches::report::Row;
use idem_benches::rounds::in_turns;
use tokio::runtime::Runtime;

use crate::peer::{Peer, Side};
use crate::peers::{Cached, Durability, Durare, Idempotent, Ours};
use crate::server::Server;

const ROUNDS: usize = 5;
const CALLERS: usize = 64;
/// Idem's calls a round, about a second: first calls, and duplicates from one caller and from 64.
const OURS: Calls = [20_000, 100_000, 200_000];
const BENCHES: [&str; 3] = [
    "first calls, 64 callers",
    "duplicates, 1 caller",
    "duplicates, 64 callers",
];
/// Those of idem on the same server.
const ON_REDIS: [&str; 3] = [
    "idem on Redis: first calls, 64 callers",
    "idem on Redis: duplicates, 1 caller",
    "idem on Redis: duplicates, 64 callers",
];
/// The calls a round of both across a wire.
const REMOTE: Calls = [10_000, 10_000, 30_000];

type Calls = [u64; 3];

/// What idem is to reach, in each bench.
type Goals = [&'static str; 3];
const DURABLE: Goals = ["≥ 10", "", ""];
const ACROSS_A_WIRE: Goals = ["", "≥ 10", "≥ 10"];
const BOTH: Goals = ["≥ 10"; 3];
const NONE: Goals = [""; 3];

/// Measures a peer, with this many of its calls a round, beside a new ledger of idem. Returns
/// idem's figures.
fn compare(
    runtime: &Runtime,
    name: &'static str,
    peer: impl Peer,
    calls: Calls,
    goals: Goals,
) -> [f64; 3] {
    let folder = tempfile::tempdir().unwrap();
    let ours = Ours::open(folder.path()).unwrap();
    let figures = figures(runtime, (ours, OURS), (peer, calls));
    rows(BENCHES, name, figures, goals);
    figures.map(|[ours, _]| ours)
}

/// Measures two sides in turns, each with so many calls a round.
fn figures(
    runtime: &Runtime,
    (ours, ours_of): (Ours, Calls),
    (peer, its): (impl Peer, Calls),
) -> [[f64; 2]; 3] {
    let (ours, peer) = (Side::new(runtime, ours), Side::new(runtime, peer));
    [
        in_turns(
            ROUNDS,
            [&mut || ours.first_calls(ours_of[0], CALLERS), &mut || {
                peer.first_calls(its[0], CALLERS)
            }],
        ),
        in_turns(
            ROUNDS,
            [&mut || ours.duplicates(ours_of[1], 1), &mut || {
                peer.duplicates(its[1], 1)
            }],
        ),
        in_turns(
            ROUNDS,
            [
                &mut || ours.duplicates(ours_of[2], CALLERS as u64),
                &mut || peer.duplicates(its[2], CALLERS as u64),
            ],
        ),
    ]
}

fn rows(benches: [&'static str; 3], name: &'static str, figures: [[f64; 2]; 3], goals: Goals) {
    for ((bench, [ours, reference]), to_reach) in benches.into_iter().zip(figures).zip(goals) {
        Row {
            bench: bench.to_owned(),
            unit: "calls/s",
            ours,
            beside: Some((name, reference)),
            to_reach,
        }
        .print();
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();

    let cached = Cached::open(&folder.path().join("cached"));
    compare(
        &runtime,
        "cached on redb",
        cached,
        [3_000, 10_000, 100_000],
        DURABLE,
    );

    for (name, durability, in_a_step, first_calls) in [
        (
            "durare on SQLite, NORMAL, in a step",
            Durability::Default,
            true,
            2_000,
        ),
        (
            "durare on SQLite, NORMAL, no step",
            Durability::Default,
            false,
            2_000,
        ),
        (
            "durare on SQLite, FULL, in a step",
            Durability::Full,
            true,
            500,
        ),
    ] {
        let durare = runtime
            .block_on(Durare::open(
                &folder.path().join(name),
                durability,
                in_a_step,
            ))
            .unwrap();
        compare(&runtime, name, durare, [first_calls, 3_000, 6_400], DURABLE);
    }

    let in_memory = runtime.block_on(async { Idempotent::in_memory() });
    let ours = compare(
        &runtime,
        "idempotent in memory",
        in_memory,
        [100_000, 60_000, 200_000],
        NONE,
    );

    web::compare(&runtime);

    let on_redis = |name, url: &str, goals| {
        let at = || runtime.block_on(Idempotent::at(url));
        compare(&runtime, name, at(), REMOTE, goals);
        let ours = runtime.block_on(Ours::on_redis(url)).unwrap();
        let figures = figures(&runtime, (ours, REMOTE), (at(), REMOTE));
        rows(ON_REDIS, name, figures, NONE);
    };
    if let Ok(url) = env::var("IDEM_REDIS_URL") {
        return on_redis("idempotent at IDEM_REDIS_URL", &url, ACROSS_A_WIRE);
    }
    for (name, not_run, persistence, goals) in [
        (
            "idempotent on Redis, not durable",
            "idempotent on Redis: not run, no server",
            ["--appendonly", "no"].as_slice(),
            ACROSS_A_WIRE,
        ),
        (
            "idempotent on Redis, durable",
            "idempotent on Redis, durable: not run, no server",
            &["--appendonly", "yes", "--appendfsync", "always"],
            BOTH,
        ),
    ] {
        match Server::start(persistence) {
            Some(server) => on_redis(name, &server.url(), goals),
            None => rows(BENCHES, not_run, ours.map(|ours| [ours, f64::NAN]), goals),
        }
    }
}
