//! A transaction that an attempt carries: the body's rows and the record are one commit, or neither
//! is there, whatever becomes of the commit and its answer.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::ledger::shared::SharedLedger;
use idem_runtime::ledger::transaction;
use idem_runtime::protocol::{Record, RecordId, Settlement};
use idem_runtime::testing::{
    ManualClock, MemoryLedger, MemoryStore, MemoryTransaction, StoreCall, StoreFault,
    UnreliableStore, UnreliableTransaction, open_on,
};
use idem_runtime::{Error, Idem, dead_letters::AttemptOutcome, idempotent, outbox::OutboxMessage};

use crate::common::{Body, Oops, only_letter, soon};

pub(crate) type Carried = UnreliableTransaction<MemoryTransaction>;

/// A service on a shared store whose network can fail.
pub(crate) struct Shop {
    pub(crate) clock: ManualClock,
    pub(crate) kept: MemoryStore,
    pub(crate) store: UnreliableStore<MemoryStore>,
    pub(crate) idem: Idem,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let clock = ManualClock::default();
        let kept = MemoryStore::new(Arc::new(clock.clone()));
        let store = UnreliableStore::new(kept.clone(), clock.clone());
        let idem = service(&clock, store.clone()).await;
        Self {
            clock,
            kept,
            store,
            idem,
        }
    }

    /// Another process on the same store, with a network of its own.
    pub(crate) async fn replica(&self) -> Idem {
        let store = UnreliableStore::new(self.kept.clone(), self.clock.clone());
        service(&self.clock, store).await
    }

    /// The business table's row of an order.
    pub(crate) fn row(&self, order_no: &str) -> Option<String> {
        let row = self.kept.row(order_no)?;
        Some(String::from_utf8(row).unwrap())
    }

    /// Whether the record of an order has a result.
    async fn is_done(&self, order_no: &str) -> bool {
        let id = RecordId::new("orders.book", order_no);
        let record = self.idem.record(&id).await.unwrap();
        matches!(record, Some(Record::Settled(settled)) if matches!(settled.end, Settlement::Done(_)))
    }

    /// The attempts that an order was charged for until it was done.
    pub(crate) async fn charged(&self, order_no: &str) -> u32 {
        let id = RecordId::new("orders.book", order_no);
        match self.idem.record(&id).await.unwrap() {
            Some(Record::Settled(settled)) => settled.attempts,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for what needs the clock to move, which it does a little at a time.
    pub(crate) async fn while_time_passes<F: Future>(&self, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        soon(async {
            loop {
                tokio::select! {
                    output = &mut work => return output,
                    () = tokio::time::sleep(Duration::from_millis(1)) => {
                        self.clock.advance(Duration::from_millis(50));
                    }
                }
            }
        })
        .await
    }
}

pub(crate) async fn service(clock: &ManualClock, store: UnreliableStore<MemoryStore>) -> Idem {
    Idem::builder()
        .clock(Arc::new(clock.clone()))
        .open_with(|context| SharedLedger::open(store, context, Duration::from_secs(30)))
        .await
        .unwrap()
}

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

/// Books an order: one row in the business table, which says by which start.
#[idempotent(
    name = "orders.book",
    key = "order_no",
    retries = 1,
    backoff(initial = "0ms"),
    timeout = "20s",
    skip(starts, then, idem)
)]
async fn book(order_no: String, starts: &Body, then: &[Then], idem: &Idem) -> Result<u32, Oops> {
    let start = starts.start();
    let mut carried = transaction::<Carried>().await?;
    assert_eq!(carried.transaction.get(&order_no), None, "booked before");
    carried
        .transaction
        .put(&*order_no, format!("start {start}"));
    idem.outbox()
        .enqueue(OutboxMessage::new("booked", &order_no, "{}"))?;
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
    Ok(start)
}

async fn booked(shop: &Shop, order_no: &str, then: &[Then]) -> (Result<u32, Oops>, u32) {
    let starts = Body::open();
    let call = shop
        .idem
        .scope(book(order_no.to_owned(), &starts, then, &shop.idem));
    let result = shop.while_time_passes(call).await;
    (result, starts.starts())
}

async fn sent(shop: &Shop) -> usize {
    shop.idem.outbox().pending(None, 10).await.unwrap().len()
}

#[tokio::test]
async fn the_rows_and_the_result_are_one_commit() {
    let shop = Shop::open().await;
    let (result, starts) = booked(&shop, "A-1", &[]).await;
    assert_eq!((result.unwrap(), starts), (1, 1));
    assert_eq!(shop.row("A-1").unwrap(), "start 1");
    assert!(shop.is_done("A-1").await);
    assert_eq!(sent(&shop).await, 1);
    let (again, starts) = booked(&shop, "A-1", &[]).await;
    assert_eq!((again.unwrap(), starts), (1, 0), "a replay");
}

#[tokio::test]
async fn an_attempt_that_fails_leaves_nothing() {
    for (then, outcome) in [
        (Then::Fail, AttemptOutcome::Failed),
        (Then::Panic, AttemptOutcome::Panicked),
        (Then::Hang, AttemptOutcome::TimedOut),
        (Then::Lend, AttemptOutcome::NotCommitted),
    ] {
        let shop = Shop::open().await;
        let (starts, twice) = (Body::open(), [then, then]);
        let call = book("A-1".to_owned(), &starts, &twice, &shop.idem);
        let call = shop.idem.scope(call);
        let result = shop.while_time_passes(call).await;
        assert!(result.is_err());
        assert_eq!(shop.row("A-1"), None, "{then:?}");
        assert_eq!(sent(&shop).await, 0, "{then:?}");
        let letter = only_letter(&shop.idem).await;
        let outcomes: Vec<_> = letter.attempts.iter().map(|past| past.outcome).collect();
        assert_eq!(outcomes, [outcome; 2]);
        // The second attempt of another order makes up for the first.
        let (result, starts) = booked(&shop, "A-2", &[Then::Fail]).await;
        assert_eq!((result.unwrap(), starts), (2, 2));
        assert_eq!(shop.row("A-2").unwrap(), "start 2");
    }
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing() {
    let shop = Shop::open().await;
    let starts = Body::open();
    let mut call =
        Box::pin(
            shop.idem
                .scope(book("A-1".to_owned(), &starts, &[Then::Hang], &shop.idem)),
        );
    starts.holds(&mut call, 1).await;
    drop(call);
    let (result, starts) = booked(&shop, "A-1", &[]).await;
    assert_eq!((result.unwrap(), starts), (1, 1));
    assert_eq!(shop.row("A-1").unwrap(), "start 1");
}

/// Each way in which a commit, or the write of the record before it, can go wrong once.
#[tokio::test]
async fn whatever_becomes_of_the_commit_the_order_is_booked_once() {
    let (away, lost) = (StoreFault::Away, StoreFault::Lost);
    let second = Duration::from_secs(1);
    for (call, fault, bookings) in [
        (StoreCall::Begin, away, 0),
        (StoreCall::Begin, StoreFault::Silent, 0),
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
        let (result, starts) = booked(&shop, "A-1", &[]).await;
        let result = result.unwrap_or_else(|error| panic!("{call:?} {fault:?}: {error}"));
        if bookings > 0 {
            assert_eq!(starts, bookings, "{call:?} {fault:?}");
            // What the server could not take is not the message's fault; what it refused may be.
            let refused = matches!(fault, StoreFault::Refused);
            let charged = if refused { 2 } else { 1 };
            assert_eq!(shop.charged("A-1").await, charged, "{call:?} {fault:?}");
        }
        let row = shop.row("A-1").unwrap();
        assert_eq!(row, format!("start {result}"), "{call:?} {fault:?}");
        assert!(shop.is_done("A-1").await, "{call:?} {fault:?}");
        assert_eq!(sent(&shop).await, 1, "{call:?} {fault:?}");
    }
}

/// The commit's answer is lost, and then the store is away: the caller hears of it, and what is
/// brought later is never the result of what may have been rolled back.
#[tokio::test]
async fn a_result_is_not_brought_later() {
    for fault in [StoreFault::Lost, StoreFault::LostRequest] {
        let shop = Shop::open().await;
        shop.store.next(StoreCall::Commit, fault);
        let starts = Body::open();
        let call = book("A-1".to_owned(), &starts, &[], &shop.idem);
        let away = async {
            // From the commit on.
            starts.started(1).await;
            for call in [StoreCall::Read, StoreCall::Write, StoreCall::Beat] {
                shop.store.always(call, StoreFault::Away);
            }
            std::future::pending::<()>().await;
        };
        let result = shop
            .while_time_passes(async {
                tokio::select! {
                    result = shop.idem.scope(call) => result,
                    () = away => unreachable!("it never ends"),
                }
            })
            .await;
        // It may have been settled before the store went away.
        if let Err(error) = &result {
            assert!(matches!(error, Oops::Idem(Error::Ledger { .. })), "{error}");
        }
        shop.store.mend();
        let (again, more) = booked(&shop, "A-1", &[]).await;
        let booked_by = again.unwrap();
        assert!(more <= 1);
        assert_eq!(shop.row("A-1").unwrap(), format!("start {booked_by}"));
        assert!(shop.is_done("A-1").await);
        assert_eq!(sent(&shop).await, 1);
    }
}

/// Two replicas: the first one's body takes longer than its process is heard of, so the second one
/// books the order; the first one's commit is refused as a whole.
#[tokio::test]
async fn a_body_that_lost_its_claim_commits_nothing() {
    #[idempotent(name = "orders.book", key = "order_no", skip(body, by))]
    async fn slow(order_no: String, body: &Body, by: &str) -> Result<String, Oops> {
        let mut carried = transaction::<Carried>().await?;
        carried.transaction.put(&*order_no, by);
        body.run().await;
        Ok(by.to_owned())
    }
    let shop = Shop::open().await;
    let (other, shut, open) = (shop.replica().await, Body::shut(), Body::open());
    let mut first = Box::pin(shop.idem.scope(slow("A-1".into(), &shut, "first")));
    shut.holds(&mut first, 1).await;
    for call in [StoreCall::Beat, StoreCall::Write] {
        shop.store.always(call, StoreFault::Silent);
    }
    let second = shop
        .while_time_passes(other.scope(slow("A-1".into(), &open, "second")))
        .await;
    assert_eq!(second.unwrap(), "second");
    shop.store.mend();
    shut.let_go();
    let error = shop.while_time_passes(first).await.unwrap_err();
    assert!(
        matches!(error, Oops::Idem(Error::LeaseLost { .. })),
        "{error}"
    );
    assert_eq!(shop.row("A-1").unwrap(), "second");
}

#[tokio::test]
async fn the_existing_order_is_looked_up_in_the_same_transaction() {
    async fn find(order_no: &str) -> Result<Option<u32>, Oops> {
        let mut carried = transaction::<Carried>().await?;
        Ok(carried.transaction.get(order_no).map(|_| 7))
    }
    #[idempotent(name = "orders.book", key = "order_no", existing = find)]
    async fn book_unless_there(order_no: String) -> Result<u32, Oops> {
        let mut carried = transaction::<Carried>().await?;
        carried.transaction.put(&*order_no, "start 1");
        Ok(1)
    }
    let shop = Shop::open().await;
    let first = shop.idem.scope(book_unless_there("A-1".into()));
    assert_eq!(shop.while_time_passes(first).await.unwrap(), 1);
    assert!(shop.is_done("A-1").await);
}

#[tokio::test]
async fn a_redelivered_message_is_told_that_nothing_was_committed() {
    #[idempotent(
        name = "orders.book",
        key = "order_no",
        retry = "redeliver",
        retries = 1,
        backoff(initial = "0ms")
    )]
    async fn booked_later(order_no: String) -> Result<u32, Oops> {
        let mut carried = transaction::<Carried>().await?;
        carried.transaction.put(&*order_no, "start 1");
        Ok(1)
    }
    let shop = Shop::open().await;
    shop.store.next(StoreCall::Commit, StoreFault::Away);
    let call = shop.idem.scope(booked_later("A-1".into()));
    let error = shop.while_time_passes(call).await.unwrap_err().into_idem();
    assert!(
        matches!(&error, Error::NotCommitted { key, .. } if key == "A-1"),
        "{error}"
    );
    assert_eq!(shop.row("A-1"), None);
    let call = shop.idem.scope(booked_later("A-1".into()));
    assert_eq!(shop.while_time_passes(call).await.unwrap(), 1);
}

#[tokio::test]
async fn without_an_attempt_or_a_ledger_that_can_there_is_no_transaction() {
    let outside = transaction::<Carried>().await.unwrap_err();
    assert!(matches!(outside, Error::OutsideHandler), "{outside}");
    #[idempotent(name = "orders.cannot", key = "order_no", retries = 0)]
    async fn cannot(order_no: String) -> Result<(), Oops> {
        let _ = order_no;
        let refused = transaction::<Carried>().await.unwrap_err();
        let text = format!("{refused:#}");
        assert!(
            text.contains("orders.cannot") && text.contains("transactions"),
            "{text}"
        );
        Ok(())
    }
    #[idempotent(name = "orders.other", key = "order_no", retries = 0)]
    async fn of_another_type(order_no: String) -> Result<(), Oops> {
        let _ = order_no;
        let refused = transaction::<String>().await.unwrap_err();
        assert!(
            format!("{refused:#}").contains("of this type"),
            "{refused:#}"
        );
        Ok(())
    }
    let clock = ManualClock::default();
    let builder = Idem::builder().clock(Arc::new(clock.clone()));
    let idem = open_on(builder, MemoryLedger::new(Arc::new(clock))).unwrap();
    idem.scope(cannot("A-1".into())).await.unwrap();
    let shop = Shop::open().await;
    let call = shop.idem.scope(of_another_type("A-1".into()));
    shop.while_time_passes(call).await.unwrap();
}
