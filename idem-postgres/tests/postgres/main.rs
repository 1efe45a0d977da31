//! The ledger on a real server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clocked;
mod database;
mod example;
mod hints;
mod laws;
mod plans;
mod runtimes;
mod schema;
mod store_laws;
mod transactions;
