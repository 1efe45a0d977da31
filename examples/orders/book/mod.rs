//! The order book: a file, or a table beside a ledger on PostgreSQL.

mod file;
mod table;

use crate::order::{Order, OrderError};

pub(crate) use file::FileBook;
pub(crate) use table::TableBook;

/// The placed orders. A clone is another handle of the same book.
#[derive(Debug, Clone)]
pub(crate) enum Book {
    File(FileBook),
    Table(TableBook),
}

impl Book {
    /// Returns the order with this number. A table is asked in the transaction of the attempt.
    pub(crate) async fn find(&self, order_no: &str) -> Result<Option<Order>, OrderError> {
        match self {
            Self::File(book) => Ok(book.find(order_no).await?),
            Self::Table(book) => book.find(order_no).await,
        }
    }

    /// Adds the order. A line is on disk when this returns; a row is committed together with the
    /// attempt's result.
    pub(crate) async fn add(&self, order: Order) -> Result<(), OrderError> {
        match self {
            Self::File(book) => Ok(book.append(order).await?),
            Self::Table(book) => book.insert(order).await,
        }
    }

    /// Returns how many orders it holds, of all processes.
    pub(crate) async fn len(&self) -> Result<usize, OrderError> {
        match self {
            Self::File(book) => Ok(book.len().await?),
            Self::Table(book) => book.len().await,
        }
    }

    /// Returns what it is called in the summary.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "orders.jsonl",
            Self::Table(_) => "the table orders",
        }
    }
}
