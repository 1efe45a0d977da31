//! Laws of the threads that ask: any one, with or without a runtime.

use std::sync::Arc;
use std::thread;

use super::{Subject, claim, complete, id};
use crate::call::wait::wait;
use crate::protocol::{Grant, Reply, Step};

/// A thread that blocks until the answer comes gets it, also if it is its runtime's only one.
pub async fn a_thread_that_blocks_gets_its_answer(on: Arc<Subject>) {
    let Reply::Run(Grant { token, .. }) =
        wait(on.ledger.apply(&id("A"), Step::Claim(claim()))).unwrap()
    else {
        panic!("a new key runs")
    };
    let recorded = wait(on.ledger.apply(&id("A"), complete(token, "1"))).unwrap();
    assert_eq!(recorded, Reply::Recorded);
    assert!(wait(on.ledger.record(&id("A"))).unwrap().is_some());
    let written = wait(on.ledger.write_notes(Vec::new(), Vec::new())).unwrap();
    assert!(written);
}

/// A thread without a runtime gets its answers.
pub async fn an_answer_needs_no_runtime(on: Arc<Subject>) {
    let asking = thread::spawn(move || wait(a_thread_that_blocks_gets_its_answer(on)));
    asking.join().unwrap();
}

/// A runtime that ends, with an answer under way, leaves the ledger to the others.
pub async fn a_ledger_outlives_the_runtime_that_asked_it(on: Arc<Subject>) {
    let asking = Arc::clone(&on);
    let asked = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let started = runtime.block_on(asking.start("A"));
        runtime.spawn(asking.ledger.apply(&id("B"), Step::Claim(claim())));
        started
    });
    let Grant { token, .. } = asked.join().unwrap();
    assert_eq!(on.step("A", complete(token, "1")).await, Reply::Recorded);
    on.start("C").await;
}

/// A call's future is copied until it has its place, so it has no room for what is rare, as connecting is.
pub async fn a_future_is_small(on: Arc<Subject>) {
    const LARGE: usize = 10 * 1024;
    let step = on.ledger.apply(&id("A"), Step::Claim(claim()));
    assert!(size_of_val(&*step) < LARGE, "{} bytes", size_of_val(&*step));
    if on.ledger.capabilities().transactions {
        let foreseen = on.ledger.foresee(&id("A"), claim());
        assert!(
            size_of_val(&*foreseen) < LARGE,
            "{} bytes",
            size_of_val(&*foreseen)
        );
        let begun = on.ledger.begin();
        assert!(
            size_of_val(&*begun) < LARGE,
            "{} bytes",
            size_of_val(&*begun)
        );
    }
}
