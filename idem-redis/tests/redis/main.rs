//! The laws of the ledger on Redis, and of its store.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod batches;
mod clocked;
mod hints;
mod laws;
mod store_laws;
