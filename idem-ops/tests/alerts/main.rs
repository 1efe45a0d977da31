//! Alerts through real servers.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

#[path = "../common/mod.rs"]
mod common;

mod mail;
mod mail_config;
mod mail_trouble;
mod webhook;
mod webhook_bodies;
mod webhook_config;
