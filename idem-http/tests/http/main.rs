//! The layer, over a real server and a real client on the loopback, by HTTP/1.1 and HTTP/2.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what is wrong by panicking"
)]

mod attacks;
mod bugs;
mod client;
mod common;
mod extractors;
mod grpc;
mod killed;
mod letters;
mod rules;
mod traces;
