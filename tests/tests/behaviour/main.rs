//! What the attribute promises, seen from outside: real functions, a real folder, real concurrency.
//! Only time is held still where a pause or an expiry is the point.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by panicking"
)]

mod batches;
mod burying;
mod changing_a_handler;
mod closing;
mod closing_letters;
mod closures;
mod common;
mod dead_letters;
mod deliveries;
mod dropped_calls;
mod erasing;
mod events;
mod existing;
mod fingerprints;
mod issuing;
mod keys;
mod late_payloads;
mod limits;
mod lost_leases;
mod note_lease;
mod opening_with;
mod outages;
mod outbox;
mod panics_and_timeouts;
mod panics_outside;
mod pauses;
mod redaction;
mod redelivery;
mod refused;
mod renamed;
mod reopening;
mod replays;
mod retries;
mod running_letters;
mod sealing;
mod shapes;
mod shared_ledger;
mod single_flight;
mod storage_trouble;
mod storm;
mod sweeping;
mod sync_handlers;
mod transaction_modes;
mod transactions;
mod waiting_for_a_folder;
mod which_idem;
