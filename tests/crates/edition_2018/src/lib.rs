//! Handlers in edition 2018.
#![deny(warnings)]

#[path = "../../handlers.rs"]
pub mod handlers;
