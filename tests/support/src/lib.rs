//! What the tests of several packages share: a real browser, real servers on free ports of the
//! loopback, and the spans that were exported.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

#[cfg(feature = "browser")]
pub mod browser;
#[cfg(feature = "examples")]
mod examples;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "servers")]
pub mod servers;
#[cfg(feature = "smtp")]
pub mod smtp;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "traces")]
pub mod traces;

use std::env;
use std::ffi::OsString;
use std::time::Duration;

#[cfg(feature = "examples")]
pub use examples::example;

/// How long a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Returns the future's value.
///
/// # Panics
/// If it takes longer than the [`DEADLINE`].
pub async fn within<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(DEADLINE, what).await.unwrap()
}

/// Returns the names of the variables by which cargo tells this program its package. A cargo that
/// inherits them runs each build script again that reads them, as ring's does, and builds again
/// what depends on it.
pub fn package_variables() -> impl Iterator<Item = OsString> {
    let of_package = ["CARGO_MANIFEST_", "CARGO_PKG_"];
    let names = env::vars_os().map(|(name, _)| name);
    names.filter(move |name| {
        let name = name.to_string_lossy();
        of_package.iter().any(|prefix| name.starts_with(prefix))
    })
}
