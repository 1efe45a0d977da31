//! What the tests of this crate share: real servers on free ports of the loopback that can be told to misbehave.

#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]
#![allow(unused_imports, reason = "each test binary uses its part")]

pub(crate) mod http;
pub(crate) mod notices;
pub(crate) mod smtp;

pub(crate) use idem_test_support::{DEADLINE, tls, within};
