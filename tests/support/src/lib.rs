//! What the tests of several packages share: a real browser, and real servers on free ports of the
//! loopback.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

#[cfg(feature = "browser")]
pub mod browser;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "servers")]
pub mod servers;
#[cfg(feature = "smtp")]
pub mod smtp;
#[cfg(feature = "tls")]
pub mod tls;

use std::time::Duration;

/// What takes longer than this will not come.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The future's value, which has to come within the [`DEADLINE`].
///
/// # Panics
/// When it does not.
pub async fn within<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(DEADLINE, what).await.unwrap()
}
