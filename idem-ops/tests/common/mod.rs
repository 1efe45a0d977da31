//! What the tests of this crate share: real servers on free ports of the loopback that can be told to misbehave.

#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

pub mod http;
pub mod notices;
pub mod smtp;
pub mod tls;

use std::time::Duration;

/// What takes longer than this will not come.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The future's value, which has to come within the deadline.
pub async fn within<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(DEADLINE, what).await.unwrap()
}
