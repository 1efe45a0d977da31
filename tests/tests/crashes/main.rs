//! A crash at every write: each scenario crashes at every failpoint where the ledger writes its
//! state, by `abort` and by `SIGKILL`, starts again, and the invariants hold.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by panicking"
)]

mod calls;
mod deliveries;
mod handlers;
mod invariants;
mod letters;
mod on_fjall;
mod opening;
mod outbox;
mod walking;
