//! The message, the result, and the errors.

use std::io;

use serde::{Deserialize, Serialize};

/// The message: asks for one order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlaceOrder {
    pub(crate) order_no: String,
    pub(crate) sku: String,
    pub(crate) qty: u32,
    pub(crate) unit_price_cents: u64,
    /// The number of attempts for which the simulated stock service fails.
    #[serde(default)]
    pub(crate) fail_times: u32,
}

impl PlaceOrder {
    /// Returns the order, or an error that no retry can mend.
    pub(crate) fn to_order(&self) -> Result<Order, OrderError> {
        if self.qty == 0 {
            return Err(OrderError::NothingOrdered);
        }
        let total_cents = self.unit_price_cents.checked_mul(self.qty.into());
        let Some(Ok(total_cents)) = total_cents.map(i64::try_from) else {
            return Err(OrderError::TotalTooLarge {
                qty: self.qty,
                unit_price_cents: self.unit_price_cents,
            });
        };
        Ok(Order {
            order_no: self.order_no.clone(),
            sku: self.sku.clone(),
            qty: self.qty.into(),
            total_cents,
        })
    }
}

/// A placed order: a line or a row of the order book, and the result that every duplicate gets. Its
/// numbers are what the table's columns hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) order_no: String,
    pub(crate) sku: String,
    pub(crate) qty: i64,
    pub(crate) total_cents: i64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("the stock service does not answer for {sku}")]
    StockDown { sku: String },
    #[error("an order needs at least 1 piece")]
    NothingOrdered,
    #[error("the total overflows: {qty} times {unit_price_cents} cents")]
    TotalTooLarge { qty: u32, unit_price_cents: u64 },
    #[error("cannot write the order book: {0}")]
    File(#[from] io::Error),
    #[error("the order book does not answer: {0}")]
    Table(#[from] sqlx::Error),
    #[error("cannot write the event: {0}")]
    Event(#[from] serde_json::Error),
    #[error(transparent)]
    Idem(#[from] idem_runtime::Error),
}

impl OrderError {
    /// Returns whether another attempt can succeed.
    pub(crate) fn is_temporary(&self) -> bool {
        !matches!(self, Self::NothingOrdered | Self::TotalTooLarge { .. })
    }
}
