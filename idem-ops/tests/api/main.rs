//! The JSON API through real HTTP, on a real ledger.
#![allow(unreachable_pub, reason = "its modules are seen by this program alone")]

#[path = "../common/mod.rs"]
mod common;
mod place;

mod actions;
mod alerts;
mod audit;
mod bulk;
mod discards;
mod erasing;
mod many;
mod pauses;
mod publish;
mod reads;
mod ready;
mod refusals;
mod served;
mod unreadable;
