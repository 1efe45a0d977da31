//! The headers of keys and of replays.

use http::HeaderName;

/// The header that carries the key.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is the recorded one, and nothing ran.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// How long ago it was recorded, in seconds.
pub(crate) const AGE: HeaderName = HeaderName::from_static("idempotency-age");
/// Names what is wrong with a call of gRPC.
#[cfg(feature = "server")]
pub(crate) const PROBLEM: HeaderName = HeaderName::from_static("idempotency-problem");
/// Says that the body of the recorded answer was not kept.
pub(crate) const TRUNCATED: HeaderName = HeaderName::from_static("idempotency-truncated");
