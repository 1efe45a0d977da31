//! The handler, and the shop it works for.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use idem_runtime::{attempt, idempotent};

use crate::book::Book;
use crate::order::{Order, OrderError, PlaceOrder};

/// The shop as one delivery sees it: the order book that all share, and what this delivery's own
/// call did.
///
/// A replay looks like any other `Ok` to its caller, which is the point of it. The marks are how
/// the summary tells them apart: a call whose body did not run leaves none.
#[derive(Debug)]
pub(crate) struct Shop {
    book: Book,
    placed: AtomicBool,
    found: AtomicBool,
    retried: AtomicBool,
}

impl Shop {
    pub(crate) fn new(book: Book) -> Self {
        Self {
            book,
            placed: AtomicBool::new(false),
            found: AtomicBool::new(false),
            retried: AtomicBool::new(false),
        }
    }

    /// Whether this call's body placed the order.
    pub(crate) fn placed(&self) -> bool {
        self.placed.load(Relaxed)
    }

    /// Whether this call found the order in the book.
    pub(crate) fn found(&self) -> bool {
        self.found.load(Relaxed)
    }

    /// Whether this call made more than a first attempt.
    pub(crate) fn retried(&self) -> bool {
        self.retried.load(Relaxed)
    }
}

/// If the order exists, return it, else place it. Of the five retries three are for the stock
/// service; a kill is an attempt too, and two are left for those.
#[idempotent(
    name = "orders.place",
    key = "order_no",
    retries = 5,
    backoff(initial = "10ms", factor = 2, max = "200ms"),
    existing = find_order,
    retry_if = OrderError::may_pass,
    skip(shop)
)]
pub(crate) async fn place_order(order: PlaceOrder, shop: &Shop) -> Result<Order, OrderError> {
    // The number is the ledger's and outlives the process, so a killed attempt has been one all the
    // same.
    let attempt = attempt().map_or(1, |attempt| attempt.number);
    if attempt > 1 {
        shop.retried.store(true, Relaxed);
    }
    let placed = order.to_order()?;
    reserve_stock(&order, attempt)?;
    shop.book.append(placed.clone()).await?;
    shop.placed.store(true, Relaxed);
    Ok(placed)
}

/// Looks in the order book: an order that was written, but whose writer was killed before the
/// ledger knew.
fn find_order(order: &PlaceOrder, shop: &Shop) -> Result<Option<Order>, OrderError> {
    let found = shop.book.find(&order.order_no);
    if found.is_some() {
        shop.found.store(true, Relaxed);
    }
    Ok(found)
}

/// The stock service, simulated: it fails this order's first attempts.
fn reserve_stock(order: &PlaceOrder, attempt: u32) -> Result<(), OrderError> {
    if attempt <= order.fail_times {
        return Err(OrderError::StockDown {
            sku: order.sku.clone(),
        });
    }
    Ok(())
}
