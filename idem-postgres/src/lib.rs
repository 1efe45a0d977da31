#![doc = include_str!("../README.md")]

mod error;
mod feed;
pub mod health;
mod link;
mod names;
mod postgres;
mod room;
mod schema;
mod sessions;
mod store;
mod time;
mod transaction;
mod viewer;

pub use postgres::{OpeningLedger, Postgres};
pub use schema::schema_sql;
pub use store::{Page, PostgresStore};
pub use transaction::{PostgresTransaction, Transaction, transaction};
pub use viewer::Viewer;
