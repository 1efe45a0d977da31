//! A ledger on a disk that lost or changed its data: rebuilt images of power cuts, and damage of
//! every kind.
//!
//! `IDEM_DISK_SEED` makes another run, `IDEM_DISK_IMAGES` a longer one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod cuts;
mod damage;
mod image;
mod known;
mod load;
mod names;
mod on_fjall;
mod power_loss;
mod tally;
mod verdict;
