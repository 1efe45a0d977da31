//! Customers who order without a pause, each order twice at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join;
use idem_runtime::Idem;
use idem_test_support::servers::Server;
use tokio::task::JoinSet;

use crate::shop::{MODES, Mode, Receipt, Shop};

/// How many order at a time.
const CUSTOMERS: usize = 12;

pub(crate) struct Load {
    shop: Arc<Shop>,
    idems: Vec<Idem>,
    customers: JoinSet<()>,
    enough: Arc<AtomicBool>,
}

impl Load {
    pub(crate) fn start(shop: &Arc<Shop>, idems: &[Idem]) -> Self {
        let enough = Arc::new(AtomicBool::default());
        let mut customers = JoinSet::new();
        for customer in 0..CUSTOMERS {
            let (shop, idems) = (Arc::clone(shop), idems.to_vec());
            let enough = Arc::clone(&enough);
            customers.spawn(async move {
                let mut number = 0;
                while !enough.load(Ordering::Relaxed) {
                    let mode = MODES[number % MODES.len()];
                    let order_no = format!("{mode:?}-{customer}-{number}");
                    let (one, other) = (
                        &idems[number % idems.len()],
                        &idems[(number + 1) % idems.len()],
                    );
                    join(
                        deliver(&shop, one, mode, &order_no),
                        deliver(&shop, other, mode, &order_no),
                    )
                    .await;
                    number += 1;
                }
            });
        }
        Self {
            shop: Arc::clone(shop),
            idems: idems.to_vec(),
            customers,
            enough,
        }
    }

    /// Waits until the last order is answered, and judges them all.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.enough.store(true, Ordering::Relaxed);
        let ended = async {
            while let Some(customer) = self.customers.join_next().await {
                customer.unwrap();
            }
        };
        idem_test_support::within(ended).await;
        for idem in &self.idems {
            idem.close().await?;
        }
        self.shop.judge().await
    }
}

/// Brings a message again until it is answered, as a broker does.
pub(crate) async fn deliver(shop: &Arc<Shop>, idem: &Idem, mode: Mode, order_no: &str) -> Receipt {
    loop {
        match shop.place(idem, mode, order_no).await {
            Ok(receipt) => return receipt,
            Err(error) => tracing::debug!("{order_no} comes again: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Places an order in each transactional mode, whose commit waits for a replica that stands still
/// while the fault is made. Each commit takes place, and its answer does not come.
pub(crate) async fn commits_unheard<F>(
    shop: &Arc<Shop>,
    idem: &Idem,
    replica: &Server,
    fault: impl Fn() -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    for (mode, order_no) in [(Mode::Counted, "Counted-1"), (Mode::Single, "Single-1")] {
        shop.hold(1);
        let work = async {
            shop.holds(1).await;
            replica.freeze()?;
            shop.let_go();
            shop.waits_for("SyncRep").await?;
            fault().await
        };
        tokio::join!(deliver(shop, idem, mode, order_no), work).1?;
        assert_eq!(
            shop.runs(order_no),
            1,
            "the commit of {order_no} took place"
        );
    }
    Ok(())
}
