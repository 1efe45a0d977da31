//! Whole Idems on one store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use futures_util::future::join_all;
use idem_runtime::ledger::shared::SharedLedger;
use idem_runtime::testing::MemoryStore;
use idem_runtime::{Error, Idem, idempotent};

use crate::common::{LEASE, Server};

#[idempotent(name = "idems.ship", key = "order", skip(runs))]
async fn ship(order: u32, runs: &AtomicU32) -> Result<u32, Error> {
    Ok(order + runs.fetch_add(1, SeqCst))
}

#[idempotent(name = "idems.bill", key = "order", skip(runs))]
fn bill(order: u32, runs: &AtomicU32) -> Result<u32, Error> {
    Ok(order + runs.fetch_add(1, SeqCst))
}

async fn open(server: &Server, store: &MemoryStore) -> Idem {
    let connection = store.clone();
    Idem::builder()
        .clock(Arc::new(server.clock.clone()))
        .open_with(|context| SharedLedger::open(connection, context, LEASE))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_runs_once_whichever_process_is_called() {
    let server = Server::start();
    let idems = [
        open(&server, &server.store).await,
        open(&server, &server.store).await,
    ];
    let runs = AtomicU32::new(0);
    let called = join_all(
        idems
            .iter()
            .cycle()
            .take(6)
            .map(|idem| idem.scope(ship(1, &runs))),
    );
    for shipped in server.until(called).await {
        assert_eq!(shipped.unwrap(), 1);
    }
    assert_eq!(runs.load(SeqCst), 1);
    for idem in &idems {
        // A thread that blocks is answered by idem's own.
        let billed = idem.scope(async { tokio::task::block_in_place(|| bill(1, &runs)) });
        let billed = billed.await;
        assert_eq!(billed.unwrap(), 2);
    }
    assert_eq!(runs.load(SeqCst), 2);
    for idem in idems {
        idem.close().await.unwrap();
    }
    let again = open(&server, &server.store).await;
    assert_eq!(again.scope(ship(1, &runs)).await.unwrap(), 1);
    again.close().await.unwrap();
    assert_eq!(runs.load(SeqCst), 2);
}
