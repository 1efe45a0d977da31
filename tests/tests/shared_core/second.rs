//! A second ledger for letters.

use std::sync::Arc;

use idem_runtime::ledger::Ledger;
use idem_runtime::ledger::shared::{LettersIn, SharedLedger};
use idem_runtime::protocol::{Budget, Claim, Reply, Step};
use idem_runtime::testing::{MemoryLedger, Process};

use crate::common::{LEASE, Server, TTL, complete, id};

#[tokio::test]
async fn the_second_ledger_is_swept_by_the_processes_that_have_it() {
    let server = Server::start();
    let second = Arc::new(MemoryLedger::new(Arc::new(server.clock.clone())));
    let claim = Claim::new("P", *b"{}", Budget::new(3, TTL), TTL);
    let claimed = second.apply(&id("A"), Step::Claim(claim)).await.unwrap();
    let Reply::Run(grant) = claimed else {
        panic!("{claimed:?}")
    };
    second.apply(&id("A"), complete(grant.token)).await.unwrap();
    server.clock.advance(TTL * 2);
    assert!(second.record(&id("A")).await.unwrap().is_some());

    let store = LettersIn::new(server.store.clone(), "P", Arc::clone(&second) as _);
    let process = Process::start("P", Arc::new(server.clock.clone())).unwrap();
    let ledger = process
        .open(|context| SharedLedger::open(store, context, LEASE))
        .unwrap();
    server.until(ledger.sweep(10, TTL)).await.unwrap();
    assert!(second.record(&id("A")).await.unwrap().is_none());
}
