//! The examples of idem. Each starts with how to run it and what it prints.
//!
//! - `cargo run --example orders`: deliveries that come many times, orders that are placed once.
