//! What is asked for, what comes of it, and what can go wrong.

use std::io;

use serde::{Deserialize, Serialize};

/// The message: one delivery asks for one order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlaceOrder {
    pub(crate) order_no: String,
    pub(crate) sku: String,
    pub(crate) qty: u32,
    pub(crate) unit_price_cents: u64,
    /// How many attempts the simulated stock service fails before it works.
    #[serde(default)]
    pub(crate) fail_times: u32,
}

impl PlaceOrder {
    /// The order that comes of it, if it makes sense.
    pub(crate) fn to_order(&self) -> Result<Order, OrderError> {
        if self.qty == 0 {
            return Err(OrderError::NothingOrdered);
        }
        let total_cents = self.unit_price_cents.checked_mul(self.qty.into()).ok_or(
            OrderError::TotalTooLarge {
                qty: self.qty,
                unit_price_cents: self.unit_price_cents,
            },
        )?;
        Ok(Order {
            order_no: self.order_no.clone(),
            sku: self.sku.clone(),
            qty: self.qty,
            total_cents,
        })
    }
}

/// A placed order: a line of `orders.jsonl`, and the result that duplicates get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) order_no: String,
    pub(crate) sku: String,
    pub(crate) qty: u32,
    pub(crate) total_cents: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("the stock service does not answer for {sku}")]
    StockDown { sku: String },
    #[error("an order of 0 pieces is none")]
    NothingOrdered,
    #[error("{qty} times {unit_price_cents} cents is more than a total can hold")]
    TotalTooLarge { qty: u32, unit_price_cents: u64 },
    #[error("the order book cannot be written: {0}")]
    Book(#[from] io::Error),
    #[error(transparent)]
    Idem(#[from] idem_runtime::Error),
}

impl OrderError {
    /// No attempt will ever mend an order that makes no sense.
    pub(crate) fn may_pass(&self) -> bool {
        !matches!(self, Self::NothingOrdered | Self::TotalTooLarge { .. })
    }
}
