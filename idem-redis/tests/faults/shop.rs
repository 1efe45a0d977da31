//! A shop that places orders, and its judge.
//!
//! Whatever goes wrong: every answer to an order is the same, and no body starts once its order was
//! answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use idem_redis::Redis;
use idem_runtime::ledger::LedgerError;
use idem_runtime::{Error, Idem, attempt, idempotent};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Longer than a server needs to come back, and shorter than a test has.
const LEASE: Duration = Duration::from_secs(4);

/// How many order at a time.
const CUSTOMERS: usize = 12;

/// The answer to an order. Each run of a body has a number of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    order_no: String,
    run: i64,
    pub(crate) token: u64,
}

/// What all processes of a test share.
#[derive(Debug, Default)]
pub(crate) struct Shop {
    seen: watch::Sender<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    answers: HashMap<String, Receipt>,
    runs: HashMap<String, usize>,
    wrongs: Vec<String>,
}

impl Shop {
    /// Places an order.
    pub(crate) async fn place(
        self: &Arc<Self>,
        idem: &Idem,
        order_no: &str,
    ) -> Result<Receipt, Error> {
        let answer = idem.scope(place(order_no.to_owned(), Arc::clone(self)));
        let answer = answer.await;
        self.seen.send_modify(|seen| match &answer {
            Ok(receipt) => seen.answered(receipt),
            Err(error) if is_unavailable(error) => {}
            Err(error) => seen.wrongs.push(format!("no fault excuses {error:#?}")),
        });
        answer
    }

    /// Brings a message again until it is answered, as a broker does.
    pub(crate) async fn deliver(self: &Arc<Self>, idem: &Idem, order_no: &str) -> Receipt {
        loop {
            match self.place(idem, order_no).await {
                Ok(receipt) => return receipt,
                Err(error) => tracing::debug!("{order_no} comes again: {error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until so many orders more are answered.
    pub(crate) async fn goes_on(&self, more: usize) {
        let mut seen = self.seen.subscribe();
        let until = seen.borrow().answers.len() + more;
        let enough = seen.wait_for(|seen| seen.answers.len() >= until);
        idem_test_support::within(enough).await.unwrap();
    }

    pub(crate) fn runs(&self, order_no: &str) -> usize {
        self.seen.borrow().runs.get(order_no).copied().unwrap_or(0)
    }

    /// Forgets the answer to an order, as the server has.
    pub(crate) fn forgets(&self, order_no: &str) {
        self.seen.send_modify(|seen| {
            seen.answers.remove(order_no);
        });
    }

    /// Asks for every answer again, and judges them.
    pub(crate) async fn judge(self: &Arc<Self>, idem: &Idem) -> anyhow::Result<()> {
        let orders: Vec<_> = self.seen.borrow().answers.keys().cloned().collect();
        for order_no in orders {
            self.deliver(idem, &order_no).await;
        }
        let wrongs = self.seen.borrow().wrongs.clone();
        ensure!(wrongs.is_empty(), "{wrongs:#?}");
        Ok(())
    }
}

impl Seen {
    fn answered(&mut self, receipt: &Receipt) {
        let first = self.answers.entry(receipt.order_no.clone());
        let first = first.or_insert_with(|| receipt.clone());
        if first != receipt {
            let wrong = format!("{first:?} was answered, and then {receipt:?}");
            self.wrongs.push(wrong);
        }
    }

    fn starts(&mut self, order_no: &str) {
        *self.runs.entry(order_no.to_owned()).or_default() += 1;
        if self.answers.contains_key(order_no) {
            let wrong = format!("{order_no} ran though it was answered");
            self.wrongs.push(wrong);
        }
    }
}

/// Returns whether idem says that the ledger was not there.
pub(crate) fn is_unavailable(error: &Error) -> bool {
    matches!(
        error,
        Error::Ledger {
            source: LedgerError::Unavailable { .. },
            ..
        } | Error::LeaseLost { .. }
    )
}

/// Opens the ledger as a process of its own does.
pub(crate) async fn process(address: &str) -> Result<Idem, Error> {
    process_with(Redis::new(address)).await
}

pub(crate) async fn process_with(redis: Redis) -> Result<Idem, Error> {
    Idem::builder().open_with(redis.lease(LEASE).ledger()).await
}

#[idempotent(
    name = "shop.place",
    key = "order_no",
    retries = 200,
    backoff(initial = "20ms", factor = 1),
    skip(shop)
)]
async fn place(order_no: String, shop: Arc<Shop>) -> Result<Receipt, Error> {
    shop.seen.send_modify(|seen| seen.starts(&order_no));
    let token = attempt().map_or(0, |attempt| attempt.token);
    let run = fastrand::i64(..);
    Ok(Receipt {
        order_no,
        run,
        token,
    })
}

/// Customers who order without a pause, each order twice at a time.
pub(crate) struct Load {
    customers: JoinSet<()>,
    enough: Arc<AtomicBool>,
}

impl Load {
    pub(crate) fn start(shop: &Arc<Shop>, idems: &[Idem; 2]) -> Self {
        let enough = Arc::new(AtomicBool::default());
        let mut customers = JoinSet::new();
        for customer in 0..CUSTOMERS {
            let (shop, [one, other]) = (Arc::clone(shop), idems.clone());
            let enough = Arc::clone(&enough);
            customers.spawn(async move {
                let mut number = 0;
                while !enough.load(Ordering::Relaxed) {
                    let order_no = format!("{customer}-{number}");
                    tokio::join!(
                        shop.deliver(&one, &order_no),
                        shop.deliver(&other, &order_no)
                    );
                    number += 1;
                }
            });
        }
        Self { customers, enough }
    }

    /// Ends the load, judges it, and closes its processes.
    pub(crate) async fn ends_right(self, shop: &Arc<Shop>, idems: [Idem; 2]) -> anyhow::Result<()> {
        self.end().await;
        shop.judge(&idems[0]).await?;
        for idem in idems {
            idem.close().await?;
        }
        Ok(())
    }

    /// Waits until the last order is answered.
    pub(crate) async fn end(mut self) {
        self.enough.store(true, Ordering::Relaxed);
        idem_test_support::within(async {
            while let Some(customer) = self.customers.join_next().await {
                customer.unwrap();
            }
        })
        .await;
    }
}
