//! What a ledger makes of a disk that kept less than it was given, or something else: rebuilt
//! images of a power cut, and damage of every kind.
//!
//! `IDEM_DISK_SEED` and `IDEM_DISK_IMAGES` give another run, and a longer one.

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
mod power_loss;
mod tally;
mod verdict;
