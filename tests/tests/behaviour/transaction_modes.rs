//! Handlers whose claim is written with the result, in the body's own transaction: `single`, and
//! `fresh` where the broker delivers the message for the first time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use idem_runtime::dead_letters::{AttemptOutcome, PastAttempt, Reason};
use idem_runtime::ledger::transaction;
use idem_runtime::protocol::{Record, RecordId};
use idem_runtime::testing::{ManualClock, MemoryLedger, StoreCall, StoreFault, open_on};
use idem_runtime::{Error, Idem, Origin, Verdict, attempt, idempotent, outbox::OutboxMessage};

use crate::common::{Body, Log, Oops, only_letter, soon};
use crate::transactions::{Carried, Shop};

const NAME: &str = "orders.book";

/// What a body does after it has written its row.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Return,
    Fail,
    Panic,
    Hang,
    /// Leave the transaction with a task.
    Lend,
}

/// The process that books.
#[derive(Clone, Copy)]
struct By<'a>(&'a str, &'a Idem);

/// Books an order: one row in the business table, which says by whom and by which start.
async fn booking(order_no: &str, by: By<'_>, body: &Body, then: &[Then]) -> Result<String, Oops> {
    let By(by, idem) = by;
    let start = body.start();
    let booked = format!("{by} {start}");
    let mut carried = transaction::<Carried>().await?;
    carried.transaction.put(order_no, &*booked);
    idem.outbox()
        .enqueue(OutboxMessage::new("booked", order_no, "{}"))?;
    body.passes().await;
    match then.get(start as usize - 1).unwrap_or(&Then::Return) {
        Then::Return => {}
        Then::Fail => return Err(Oops::own("no stock")),
        Then::Panic => panic!("no stock at all"),
        Then::Hang => std::future::pending().await,
        Then::Lend => {
            tokio::spawn(async move {
                let _lent = carried;
                std::future::pending::<()>().await;
            });
        }
    }
    Ok(booked)
}

#[idempotent(
    name = "orders.book",
    key = "order_no",
    transaction = "single",
    retries = 1,
    backoff(initial = "0ms"),
    timeout = "20s",
    skip(by, body, then)
)]
async fn book(
    order_no: &str,
    qty: u32,
    by: By<'_>,
    body: &Body,
    then: &[Then],
) -> Result<String, Oops> {
    let _ = qty;
    booking(order_no, by, body, then).await
}

#[idempotent(
    name = "orders.book",
    key = "order_no",
    transaction = "fresh",
    retries = 1,
    backoff(initial = "0ms"),
    skip(by, body)
)]
async fn book_if_fresh(order_no: &str, by: By<'_>, body: &Body) -> Result<String, Oops> {
    booking(order_no, by, body, &[]).await
}

#[idempotent(
    name = "orders.book",
    key = "order_no",
    transaction = "single",
    retries = 1,
    retry = "redeliver",
    backoff(initial = "10s", factor = 1),
    skip(by, body, then)
)]
async fn book_later(
    order_no: &str,
    by: By<'_>,
    body: &Body,
    then: &[Then],
) -> Result<String, Oops> {
    booking(order_no, by, body, then).await
}

async fn record(idem: &Idem) -> Option<Record> {
    idem.record(&RecordId::new(NAME, "A-1")).await.unwrap()
}

async fn sent(idem: &Idem) -> usize {
    idem.outbox().pending(None, 10).await.unwrap().len()
}

/// A call of one process.
async fn booked(shop: &Shop, then: &[Then]) -> (Result<String, Oops>, u32) {
    let body = Body::open();
    let call = shop
        .idem
        .scope(book("A-1", 1, By("a", &shop.idem), &body, then));
    let result = shop.while_time_passes(call).await;
    (result, body.starts())
}

#[tokio::test]
async fn nothing_is_written_before_the_body_and_all_of_it_after() {
    let shop = Shop::open().await;
    let body = Body::shut();
    let mut call = Box::pin(
        shop.idem
            .scope(book("A-1", 1, By("a", &shop.idem), &body, &[])),
    );
    body.holds(&mut call, 1).await;
    assert_eq!(record(&shop.idem).await, None);
    // A duplicate of this process waits for it all the same.
    let mut again = Box::pin(
        shop.idem
            .scope(book("A-1", 1, By("b", &shop.idem), &body, &[])),
    );
    assert!(crate::common::poll_once(again.as_mut()).await.is_none());
    body.let_go();
    assert_eq!(shop.while_time_passes(call).await.unwrap(), "a 1");
    assert_eq!(shop.while_time_passes(again).await.unwrap(), "a 1");
    assert_eq!(body.starts(), 1);
    assert_eq!(shop.row("A-1").unwrap(), "a 1");
    assert!(matches!(record(&shop.idem).await, Some(Record::Settled(_))));
    assert_eq!(sent(&shop.idem).await, 1);
    let (again, starts) = booked(&shop, &[]).await;
    assert_eq!((&*again.unwrap(), starts), ("a 1", 0), "a replay");
}

#[tokio::test]
async fn failures_are_counted_and_the_last_one_is_a_letter_that_can_be_redriven() {
    for (then, outcome) in [
        (Then::Fail, AttemptOutcome::Failed),
        (Then::Panic, AttemptOutcome::Panicked),
        (Then::Hang, AttemptOutcome::TimedOut),
        (Then::Lend, AttemptOutcome::NotCommitted),
    ] {
        let shop = Shop::open().await;
        let (result, starts) = booked(&shop, &[then; 2]).await;
        assert!(result.is_err(), "{then:?}");
        assert_eq!(starts, 2, "{then:?}");
        assert_eq!(shop.row("A-1"), None, "{then:?}");
        assert_eq!(sent(&shop.idem).await, 0, "{then:?}");
        let letter = only_letter(&shop.idem).await;
        let past: Vec<_> = letter.attempts.iter().collect();
        let numbers: Vec<_> = past.iter().map(|past| past.number).collect();
        assert_eq!(numbers, [1, 2]);
        assert!(past.iter().all(|past| past.outcome == outcome), "{past:?}");
        let (dead, starts) = booked(&shop, &[]).await;
        let dead = dead.unwrap_err().into_idem();
        assert!(matches!(dead, Error::DeadLettered { .. }), "{dead}");
        assert_eq!(starts, 0);
        shop.idem.dead_letters().redrive(&letter.id).await.unwrap();
        let (result, starts) = booked(&shop, &[Then::Fail]).await;
        assert_eq!((&*result.unwrap(), starts), ("a 2", 2));
        assert_eq!(shop.row("A-1").unwrap(), "a 2");
    }
}

#[tokio::test]
async fn a_dropped_call_is_counted() {
    let shop = Shop::open().await;
    let body = Body::shut();
    let mut call = Box::pin(
        shop.idem
            .scope(book("A-1", 1, By("a", &shop.idem), &body, &[])),
    );
    body.holds(&mut call, 1).await;
    drop(call);
    let (result, starts) = booked(&shop, &[]).await;
    assert_eq!((&*result.unwrap(), starts), ("a 1", 1));
    let Some(Record::Settled(settled)) = record(&shop.idem).await else {
        panic!("it is done");
    };
    assert_eq!(settled.attempts, 2);
    assert_eq!(shop.row("A-1").unwrap(), "a 1");
}

/// Each way in which the read, the commit, or the write of the record before it can go wrong once.
#[tokio::test]
async fn whatever_becomes_of_the_commit_the_order_is_booked_once() {
    let (away, lost) = (StoreFault::Away, StoreFault::Lost);
    let second = Duration::from_secs(1);
    for (call, fault, bookings) in [
        (StoreCall::Read, away, 1),
        (StoreCall::Read, lost, 1),
        (StoreCall::Begin, away, 1),
        (StoreCall::TransactionWrite, away, 2),
        (StoreCall::TransactionWrite, StoreFault::Refused, 2),
        (StoreCall::TransactionWrite, StoreFault::Silent, 2),
        (StoreCall::Commit, away, 2),
        (StoreCall::Commit, StoreFault::Refused, 2),
        (StoreCall::Commit, StoreFault::LostRequest, 2),
        (StoreCall::Commit, StoreFault::Silent, 2),
        (StoreCall::Commit, lost, 1),
        (StoreCall::Commit, StoreFault::LateAnswer(second), 1),
        (StoreCall::Commit, StoreFault::LateRequest(second), 0),
    ] {
        let shop = Shop::open().await;
        shop.store.next(call, fault);
        let (result, starts) = booked(&shop, &[]).await;
        let result = result.unwrap_or_else(|error| panic!("{call:?} {fault:?}: {error}"));
        if bookings > 0 {
            assert_eq!(starts, bookings, "{call:?} {fault:?}");
            let refused = matches!(fault, StoreFault::Refused);
            let charged = if refused { 2 } else { 1 };
            assert_eq!(shop.charged("A-1").await, charged, "{call:?} {fault:?}");
        }
        assert_eq!(shop.row("A-1").unwrap(), result, "{call:?} {fault:?}");
        let done = record(&shop.idem).await;
        assert!(matches!(done, Some(Record::Settled(_))), "{done:?}");
        assert_eq!(sent(&shop.idem).await, 1, "{call:?} {fault:?}");
    }
}

/// With `retry = "inline"` an attempt that met an outage is made again `retries` times, and then the
/// caller hears of it. None of them is charged, whichever mode the handler has.
#[tokio::test]
async fn an_outage_of_the_commit_is_tried_again_in_place_and_never_charged() {
    let shop = Shop::open().await;
    shop.store.always(StoreCall::Commit, StoreFault::Away);
    let (result, starts) = booked(&shop, &[]).await;
    let error = result.unwrap_err().into_idem();
    assert!(matches!(error, Error::NotCommitted { .. }), "{error}");
    assert_eq!(starts, 2);
    let Some(Record::Live(live)) = record(&shop.idem).await else {
        panic!("it comes again");
    };
    let past: Vec<_> = live.past.iter().map(PastAttempt::summary).collect();
    assert_eq!(past, ["outage ×2, not charged"]);
    shop.store.mend();
    let (result, starts) = booked(&shop, &[Then::Fail]).await;
    assert_eq!(
        (&*result.unwrap(), starts),
        ("a 2", 2),
        "its budget is whole"
    );
    assert_eq!(shop.charged("A-1").await, 2);
    assert_eq!(shop.row("A-1").unwrap(), "a 2");
}

/// The process of the first body is gone for ever: no other one waits for it, and nothing counts.
#[tokio::test]
async fn a_process_that_dies_or_stands_still_in_the_body_is_not_counted() {
    let shop = Shop::open().await;
    let (other, body) = (shop.replica().await, Body::shut());
    let mut call = Box::pin(
        shop.idem
            .scope(book("A-1", 1, By("a", &shop.idem), &body, &[])),
    );
    body.holds(&mut call, 1).await;
    for call in [
        StoreCall::Read,
        StoreCall::Write,
        StoreCall::Beat,
        StoreCall::Commit,
    ] {
        shop.store.always(call, StoreFault::Silent);
    }
    let open = Body::open();
    let second = other.scope(async {
        let booked = book("A-1", 1, By("b", &other), &open, &[]).await;
        (booked, other.record(&RecordId::new(NAME, "A-1")).await)
    });
    let (booked, done) = soon(second).await;
    assert_eq!(booked.unwrap(), "b 1");
    assert!(matches!(done, Ok(Some(Record::Settled(settled))) if settled.attempts == 1));
    assert_eq!(shop.row("A-1").unwrap(), "b 1");
    // It was not dead: it stood still.
    shop.store.mend();
    body.let_go();
    assert_eq!(shop.while_time_passes(call).await.unwrap(), "b 1");
    assert_eq!(shop.row("A-1").unwrap(), "b 1");
}

/// How the call ends whose body was overtaken by one of another process.
async fn overtaken(qty: u32, then: &'static [Then]) -> (Shop, Result<String, Oops>, u32) {
    let shop = Shop::open().await;
    let (other, slow, quick) = (shop.replica().await, Body::shut(), Body::open());
    let mut first = Box::pin(
        shop.idem
            .scope(book("A-1", 1, By("a", &shop.idem), &slow, then)),
    );
    slow.holds(&mut first, 1).await;
    let second = other.scope(book("A-1", qty, By("b", &other), &quick, &[]));
    assert_eq!(shop.while_time_passes(second).await.unwrap(), "b 1");
    slow.let_go();
    let first = shop.while_time_passes(first).await;
    assert_eq!(shop.row("A-1").unwrap(), "b 1");
    assert_eq!(sent(&other).await, 1);
    let Some(Record::Settled(settled)) = record(&other).await else {
        panic!("it is done");
    };
    assert_eq!(settled.attempts, 1);
    let starts = slow.starts();
    (shop, first, starts)
}

#[tokio::test]
async fn of_two_processes_one_commits_and_the_other_returns_its_result() {
    let (_shop, first, starts) = overtaken(1, &[]).await;
    assert_eq!((&*first.unwrap(), starts), ("b 1", 1));
    // Its own error is no longer the message's end.
    let (_shop, first, starts) = overtaken(1, &[Then::Fail]).await;
    assert_eq!((&*first.unwrap(), starts), ("b 1", 1));
}

#[tokio::test]
async fn the_key_of_another_message_is_refused_before_the_body_and_after_it() {
    let (shop, first, starts) = overtaken(2, &[]).await;
    let error = first.unwrap_err().into_idem();
    assert!(matches!(error, Error::KeyReused { .. }), "{error}");
    assert_eq!(starts, 1);
    let (again, starts) = booked(&shop, &[]).await;
    let error = again.unwrap_err().into_idem();
    assert!(matches!(error, Error::KeyReused { .. }), "{error}");
    assert_eq!(starts, 0);
}

/// Two bodies that ran at once and failed are two attempts.
#[tokio::test]
async fn each_failure_counts_also_of_bodies_that_ran_at_once() {
    let shop = Shop::open().await;
    let other = shop.replica().await;
    let (one, two) = (Body::shut(), Body::shut());
    let mut first =
        Box::pin(
            shop.idem
                .scope(book_later("A-1", By("a", &shop.idem), &one, &[Then::Fail])),
        );
    one.holds(&mut first, 1).await;
    let mut second = Box::pin(other.scope(book_later("A-1", By("b", &other), &two, &[Then::Fail])));
    two.holds(&mut second, 1).await;
    one.let_go();
    soon(first).await.unwrap_err().into_own();
    two.let_go();
    soon(second).await.unwrap_err().into_own();
    let letter = only_letter(&shop.idem).await;
    let numbers: Vec<_> = letter.attempts.iter().map(|past| past.number).collect();
    assert_eq!((letter.reason, numbers), (Reason::BudgetSpent, vec![1, 2]));
}

/// A result of a body that is not the next attempt any more: it could not run again in this call.
#[tokio::test]
async fn a_result_after_another_ones_failure_is_rolled_back_and_comes_again() {
    let shop = Shop::open().await;
    let other = shop.replica().await;
    let (slow, quick) = (Body::shut(), Body::open());
    let mut first = Box::pin(
        shop.idem
            .scope(book_later("A-1", By("a", &shop.idem), &slow, &[])),
    );
    slow.holds(&mut first, 1).await;
    let second = other.scope(book_later("A-1", By("b", &other), &quick, &[Then::Fail]));
    soon(second).await.unwrap_err().into_own();
    slow.let_go();
    let error = soon(first).await.unwrap_err().into_idem();
    assert!(matches!(error, Error::NotYet { .. }), "{error}");
    assert_eq!(shop.row("A-1"), None);
    shop.clock.advance(Duration::from_secs(10));
    let again = shop
        .idem
        .scope(book_later("A-1", By("a", &shop.idem), &quick, &[]));
    assert_eq!(soon(again).await.unwrap(), "a 2");
}

#[tokio::test]
async fn no_body_runs_within_the_pause() {
    let shop = Shop::open().await;
    let body = Body::open();
    let call = || {
        shop.idem
            .scope(book_later("A-1", By("a", &shop.idem), &body, &[Then::Fail]))
    };
    call().await.unwrap_err().into_own();
    let error = call().await.unwrap_err().into_idem();
    assert!(matches!(error, Error::NotYet { .. }), "{error}");
    assert_eq!(body.starts(), 1);
    shop.clock.advance(Duration::from_secs(10));
    assert_eq!(call().await.unwrap(), "a 2");
}

#[tokio::test]
async fn a_body_without_its_transaction_is_a_letter_and_a_result_that_existed_is_recorded() {
    #[idempotent(name = "orders.pay", key = "id", transaction = "single", skip(body))]
    async fn pay(id: &str, body: &Body) -> Result<u32, Oops> {
        Ok(body.start())
    }
    async fn find(_: &str, _: &Body) -> Result<Option<u32>, Oops> {
        Ok(Some(7))
    }
    #[idempotent(
        name = "orders.find",
        key = "id",
        transaction = "single",
        existing = find,
        skip(body)
    )]
    async fn found(id: &str, body: &Body) -> Result<u32, Oops> {
        Ok(body.start())
    }
    let (shop, body) = (Shop::open().await, Body::open());
    let error = soon(shop.idem.scope(pay("A-1", &body))).await;
    let error = error.unwrap_err().into_idem();
    let text = error.to_string();
    assert!(matches!(error, Error::NoTransaction { .. }), "{error}");
    assert!(
        text.contains("orders.pay") && text.contains("`transaction()`"),
        "{text}"
    );
    let letter = only_letter(&shop.idem).await;
    assert_eq!(letter.reason, Reason::ResultNotStorable);
    let again = soon(shop.idem.scope(pay("A-1", &body))).await.unwrap_err();
    assert!(matches!(again, Oops::Idem(Error::DeadLettered { .. })));
    assert_eq!(body.starts(), 1);
    assert_eq!(soon(shop.idem.scope(found("A-1", &body))).await.unwrap(), 7);
    let done = shop.idem.record(&RecordId::new("orders.find", "A-1")).await;
    assert!(matches!(done, Ok(Some(Record::Settled(_)))), "{done:?}");
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn a_ledger_without_transactions_refuses_the_first_call() {
    let clock = ManualClock::default();
    let builder = Idem::builder().clock(Arc::new(clock.clone()));
    let idem = open_on(builder, MemoryLedger::new(Arc::new(clock))).unwrap();
    let body = Body::open();
    let delivered = idem
        .deliver(
            Origin::new("test", "orders"),
            book("A-1", 1, By("a", &idem), &body, &[]),
        )
        .await;
    let error = delivered.output.unwrap_err().into_idem();
    let text = format!("{error:#}");
    for word in [NAME, "A-1", "no transactions", "single", "counted"] {
        assert!(text.contains(word), "{text}");
    }
    let again = matches!(delivered.verdict, Verdict::Unavailable { .. });
    assert!(again, "{:?}", delivered.verdict);
    assert_eq!(body.starts(), 0);
    assert_eq!(record(&idem).await, None);
}

/// `fresh`: nothing is written before the body only where the broker says that it is the first.
#[tokio::test]
async fn a_message_that_may_have_come_before_is_claimed_first() {
    let from = || Origin::new("test", "orders");
    for (origin, claimed) in [
        (Some(from().redelivered(false)), false),
        (Some(from().redelivered(true)), true),
        (Some(from()), true),
        (None, true),
    ] {
        let shop = Shop::open().await;
        let body = Body::shut();
        let book = book_if_fresh("A-1", By("a", &shop.idem), &body);
        let call = async {
            match &origin {
                Some(origin) => shop.idem.deliver(origin.clone(), book).await.output,
                None => shop.idem.scope(book).await,
            }
        };
        let mut call = Box::pin(call);
        body.holds(&mut call, 1).await;
        let found = record(&shop.idem).await;
        assert_eq!(found.is_some(), claimed, "{origin:?}");
        body.let_go();
        assert_eq!(shop.while_time_passes(call).await.unwrap(), "a 1");
        assert_eq!(shop.row("A-1").unwrap(), "a 1");
    }
}

/// After a failure there is a record: from then on a process that dies is counted.
#[tokio::test]
async fn a_fresh_message_that_failed_is_claimed_first() {
    #[idempotent(
        name = "orders.book",
        key = "order_no",
        transaction = "fresh",
        retries = 1,
        backoff(initial = "0ms"),
        skip(seen, idem)
    )]
    async fn book(order_no: &str, seen: &Log<(u32, bool)>, idem: &Idem) -> Result<(), Oops> {
        let live = matches!(record(idem).await, Some(Record::Live(_)));
        let number = attempt().unwrap().number;
        seen.push((number, live));
        let mut carried = transaction::<Carried>().await?;
        carried.transaction.put(order_no, "booked");
        match number {
            1 => Err(Oops::own("no stock")),
            _ => Ok(()),
        }
    }
    let shop = Shop::open().await;
    let (seen, origin) = (
        Log::default(),
        Origin::new("test", "orders").redelivered(false),
    );
    let call = shop.idem.deliver(origin, book("A-1", &seen, &shop.idem));
    shop.while_time_passes(call).await.output.unwrap();
    assert_eq!(seen.take(), [(1, false), (2, true)]);
}

/// Whatever goes wrong on the way, for two processes at once: there is a row if and only if there is
/// a result, and it is the same one for all.
#[tokio::test]
async fn the_row_and_the_record_agree() {
    let second = Duration::from_secs(1);
    let calls = [
        StoreCall::Read,
        StoreCall::Write,
        StoreCall::Begin,
        StoreCall::TransactionWrite,
        StoreCall::Commit,
    ];
    let faults = [
        StoreFault::Away,
        StoreFault::Lost,
        StoreFault::LostRequest,
        StoreFault::Silent,
        StoreFault::LateAnswer(second),
        StoreFault::LateRequest(second),
    ];
    let thens = [Then::Return, Then::Return, Then::Fail, Then::Panic];
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let shop = Shop::open().await;
        let (other, body) = (shop.replica().await, Body::open());
        for _ in 0..random.u32(0..4) {
            let call = *random.choice(&calls).unwrap();
            shop.store.next(call, *random.choice(&faults).unwrap());
        }
        let then = [0; 2].map(|_| *random.choice(&thens).unwrap());
        let both = join(
            shop.idem
                .scope(book("A-1", 1, By("a", &shop.idem), &body, &then)),
            other.scope(book("A-1", 1, By("b", &other), &body, &then)),
        );
        let _ = shop.while_time_passes(both).await;
        shop.store.mend();
        let last = other.scope(book("A-1", 1, By("c", &other), &body, &[]));
        let last = shop.while_time_passes(last).await;
        let sent = sent(&other).await;
        match last {
            Ok(booked) => assert_eq!((shop.row("A-1"), sent), (Some(booked), 1), "seed {seed}"),
            Err(Oops::Idem(Error::DeadLettered { .. })) => {
                assert_eq!((shop.row("A-1"), sent), (None, 0), "seed {seed}");
                only_letter(&other).await;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}
