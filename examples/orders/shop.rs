//! The handler and its context.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use idem_runtime::outbox::OutboxMessage;
use idem_runtime::{attempt, idempotent};

use crate::book::Book;
use crate::order::{Order, OrderError, PlaceOrder};

/// Where the events about placed orders go.
pub(crate) const EVENT: &str = "orders.placed";

/// The context of one call: the shared order book, and marks of what the call did.
///
/// Callers cannot tell a replay from a first run. The summary can: a call whose body did not run
/// leaves no mark.
#[derive(Debug)]
pub(crate) struct Shop {
    book: Book,
    placed: AtomicBool,
    found: AtomicBool,
    retried: AtomicBool,
}

impl Shop {
    pub(crate) fn new(book: &Book) -> Self {
        Self {
            book: book.clone(),
            placed: AtomicBool::new(false),
            found: AtomicBool::new(false),
            retried: AtomicBool::new(false),
        }
    }

    /// Returns whether this call's body placed the order.
    pub(crate) fn placed(&self) -> bool {
        self.placed.load(Relaxed)
    }

    /// Returns whether this call found the order in the book.
    pub(crate) fn found(&self) -> bool {
        self.found.load(Relaxed)
    }

    /// Returns whether this call made an attempt after the first.
    pub(crate) fn retried(&self) -> bool {
        self.retried.load(Relaxed)
    }
}

/// Places the order, or returns it if it exists. Three of the five retries are for the stock service;
/// two are for kills, which count as attempts.
#[idempotent(
    name = "orders.place",
    key = "order_no",
    retries = 5,
    backoff(initial = "10ms", factor = 2, max = "200ms"),
    existing = find_order,
    events = announce,
    retry_if = OrderError::is_temporary,
    skip(shop)
)]
pub(crate) async fn place_order(order: PlaceOrder, shop: &Shop) -> Result<Order, OrderError> {
    // The number comes from the ledger, so it counts attempts of killed processes too.
    let attempt = attempt().map_or(1, |attempt| attempt.number);
    if attempt > 1 {
        shop.retried.store(true, Relaxed);
    }
    let placed = order.to_order()?;
    reserve_stock(&order, attempt)?;
    shop.book.add(placed.clone()).await?;
    shop.placed.store(true, Relaxed);
    Ok(placed)
}

/// Looks for the order in the book. A killed process may have written it to the file without
/// recording its result in the ledger; in the table it is only if something else than this handler
/// has written it.
async fn find_order(order: &PlaceOrder, shop: &Shop) -> Result<Option<Order>, OrderError> {
    let found = shop.book.find(&order.order_no).await?;
    if found.is_some() {
        shop.found.store(true, Relaxed);
    }
    Ok(found)
}

/// Makes the order's event, which is recorded with the order's result, or not at all.
fn announce(order: &Order) -> Result<OutboxMessage, OrderError> {
    Ok(OutboxMessage::json(EVENT, &order.order_no, order)?)
}

/// Simulates the stock service, which fails the first attempts of this order.
fn reserve_stock(order: &PlaceOrder, attempt: u32) -> Result<(), OrderError> {
    if attempt <= order.fail_times {
        return Err(OrderError::StockDown {
            sku: order.sku.clone(),
        });
    }
    Ok(())
}
