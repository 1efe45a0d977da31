//! Alerts through real servers.

#[path = "../common/mod.rs"]
mod common;

mod mail;
mod mail_config;
mod mail_trouble;
mod webhook;
mod webhook_bodies;
mod webhook_config;
