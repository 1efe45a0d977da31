//! Handlers in edition 2021.
#![deny(warnings)]

#[path = "../../handlers.rs"]
pub mod handlers;
