//! What idem is measured against, and how.

pub mod bare;
pub mod callgrind;
pub mod copied;
pub mod crates;
pub mod orders;
#[cfg(feature = "servers")]
pub mod postgres;
#[cfg(feature = "servers")]
pub mod queues;
#[cfg(feature = "servers")]
pub mod redis;
pub mod report;
pub mod rounds;
pub mod usage;
pub mod web;
