//! Dead letters reach people, and people can act.
//!
//! A dead letter needs a human, so someone has to be told: soon, once, with enough to act on.
//! [`alert`] holds what is told, a [`Notice`](alert::Notice), and the channels it goes through:
//! mail ([`alert::Email`], feature `email`), and signed JSON or the robots of Slack, Feishu/Lark,
//! DingTalk and WeCom ([`alert::Webhook`], feature `webhook`).
//!
//! What an alert may hold: idempotency keys and error texts, escaped for where they are shown.
//! Payloads never leave the ledger this way, for they may hold personal data.

pub mod alert;
#[cfg(feature = "dashboard")]
pub mod api;
#[cfg(feature = "dashboard")]
mod auth;
mod config;
#[cfg(feature = "dashboard")]
mod dashboard;
mod duty;
mod files;
#[cfg(any(feature = "email", feature = "webhook", feature = "dashboard"))]
mod loopback;
pub mod metrics;
pub mod monitor;
mod proxies;
mod secret;
#[cfg(feature = "dashboard")]
mod serve;
pub mod service;
mod shown;
#[cfg(feature = "webhook")]
mod tls;

#[cfg(feature = "dashboard")]
pub use auth::{Auth, AuthError, Principal};
pub use config::{Config, ConfigError};
#[cfg(feature = "dashboard")]
pub use dashboard::dashboard;
pub use proxies::{Network, NotANetwork};
pub use secret::{Secret, SecretError};
#[cfg(feature = "dashboard")]
pub use serve::{Serve, serve};

/// What the program `idem` shares with this crate; it is not API, so `idem-cli` pins the version.
#[doc(hidden)]
pub mod internals {
    #[cfg(feature = "dashboard")]
    pub use crate::loopback::is_loopback;
    #[cfg(feature = "dashboard")]
    pub use crate::shown::json as escape_json;
    pub use crate::shown::steers;

    /// Reads files up to a limit.
    pub mod files {
        pub use crate::files::{read, read_text, text, whole};
    }
}

#[cfg(all(doctest, feature = "email", feature = "webhook", feature = "dashboard"))]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../../docs/backup.md")]
mod readme {}
