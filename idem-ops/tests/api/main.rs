//! The JSON API through real HTTP, on a real ledger.

#[path = "../common/mod.rs"]
mod common;
mod place;

mod acts;
mod bulk;
mod closed_door;
mod many;
mod reads;
