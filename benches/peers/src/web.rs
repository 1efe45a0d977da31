//! The layer of idem-http beside `axum-idempotent` 0.6: the same route, the same clients over the
//! loopback, in turns. idem's records are on the disk; those of `axum-idempotent` are in the memory
//! of the process, in a session for each connection. It makes no claim: requests with one key that
//! come at the same time all run.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use axum_idempotent::{IdempotentLayer, IdempotentOptions};
use idem_benches::report::Row;
use idem_benches::rounds::in_turns;
use idem_benches::web::{orders, rate, serve};
use idem_http::{IdempotencyLayer, Scope};
use idem_runtime::Idem;
use ruts::store::moka::MokaStore;
use ruts::{CookieOptions, SessionLayer};
use tokio::runtime::Runtime;
use tower_cookies::CookieManagerLayer;

const NAME: &str = "axum-idempotent in memory";
/// How many connections there are, and how many requests a round has.
const CONNECTIONS: [(u64, u64); 2] = [(1, 640), (64, 6_400)];
const ROUNDS: usize = 5;
/// How long answers and sessions are kept, in seconds: longer than the bench takes.
const KEPT: i64 = 3_600;

/// Measures first requests, and then the same ones again.
pub(crate) fn compare(runtime: &Runtime) {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    let [ours, peer] = runtime.block_on(async {
        let layer = IdempotencyLayer::builder(&idem, "http.orders", Scope::bearer());
        let layer = layer.build().unwrap();
        let options =
            IdempotentOptions::new(KEPT).use_idempotency_key_header(Some("idempotency-key"), true);
        let cookies = CookieOptions::build()
            .name("session")
            .max_age(KEPT.unsigned_abs());
        let sessions = SessionLayer::new(Arc::new(MokaStore::builder().build()));
        let peer = orders()
            .layer(IdempotentLayer::<MokaStore>::new(options))
            .layer(sessions.with_cookie_options(cookies.path("/")))
            .layer(CookieManagerLayer::new());
        [serve(orders().layer(layer)).await, serve(peer).await]
    });
    let mut first = 0;
    for (connections, requests) in CONNECTIONS {
        let sent = [const { Cell::new(0) }; 2];
        let pass = |at: SocketAddr, side: usize, replayed: bool| {
            // An order comes again on the connection that it came on.
            let from = first + sent[side].replace(sent[side].get() + requests);
            runtime.block_on(rate(at, connections, from..from + requests, replayed))
        };
        for (what, replayed) in [("first requests", false), ("replays", true)] {
            sent.iter().for_each(|sent| sent.set(0));
            let [ours, reference] = in_turns(
                ROUNDS,
                [&mut || pass(ours, 0, replayed), &mut || {
                    pass(peer, 1, replayed)
                }],
            );
            Row {
                bench: format!("{what}, {connections} connections"),
                unit: "requests/s",
                ours,
                beside: Some((NAME, reference)),
                to_reach: "",
            }
            .print();
        }
        first += requests * 2 * ROUNDS as u64;
    }
}
