#![doc = include_str!("../README.md")]

mod address;
mod call;
mod disks;
mod error;
mod feed;
pub mod health;
mod link;
mod route;
mod row;
mod script;
mod settings;
mod store;
mod time;

pub use settings::{OpeningLedger, Redis};
pub use store::{Page, RedisStore};
