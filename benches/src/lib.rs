//! What idem is measured against, and how.

pub mod bare;
pub mod callgrind;
pub mod copied;
pub mod crates;
pub mod orders;
pub mod postgres;
pub mod queues;
pub mod redis;
pub mod report;
pub mod rounds;
pub mod web;
