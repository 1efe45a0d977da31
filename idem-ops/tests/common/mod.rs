//! What the tests of this crate share: real servers on free ports of the loopback that can be told
//! to misbehave.

#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]
#![allow(unused_imports, reason = "each test binary uses its part")]

pub(crate) mod notices;
pub(crate) mod smtp;

use std::fmt::Debug;
use std::time::Instant;

pub(crate) use idem_test_support::{DEADLINE, http, tls, within};

/// What is looked at, once it is as wanted.
pub(crate) async fn until<T: Debug>(
    mut look: impl AsyncFnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let begun = Instant::now();
    loop {
        let seen = look().await;
        if wanted(&seen) {
            return seen;
        }
        assert!(
            begun.elapsed() < DEADLINE,
            "it does not come to what is wanted: {seen:?}"
        );
    }
}
