//! The core of the shared ledgers, over a store that fails as a network does: batches, lost races,
//! lost answers, and processes that come and go.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod batches;
mod common;
mod idems;
mod numbers;
mod processes;
mod second;
mod transactions;
mod trouble;
mod waiting;
