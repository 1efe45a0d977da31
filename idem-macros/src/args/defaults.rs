//! The runtime's defaults of some arguments, which the checks of others need. `idem-tests` compares
//! them with the runtime's `Handler`.

pub(crate) const RETRIES: u32 = 3;
/// In milliseconds.
pub(crate) const INITIAL: u64 = 100;
pub(crate) const FACTOR: f64 = 2.0;
/// In milliseconds.
pub(crate) const MAX: u64 = 30_000;
/// In milliseconds.
pub(crate) const LEASE: u64 = 30_000;
/// In milliseconds.
pub(crate) const TTL: u64 = 7 * 24 * 60 * 60 * 1000;
