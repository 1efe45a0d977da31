//! Services that have to stand outside of the layer, found when it is put on them.

use std::any::type_name;

/// Types that must not be inside, and why.
const OUTSIDE: [(&str, &str); 6] = [
    (
        "idem_http::service::Idempotency<",
        "one layer for idempotency is inside of another: a request has one key",
    ),
    (
        "idem_http::grpc::service::GrpcIdempotency<",
        "one layer for idempotency is inside of another: a request has one key",
    ),
    (
        "tower_http::auth::",
        "authentication is inside: keys of callers without credentials would fill the ledger",
    ),
    (
        "tower_http::validate_request::",
        "authentication is inside: keys of callers without credentials would fill the ledger",
    ),
    (
        "tower::limit::rate::",
        "the rate limit is inside: what it holds back would hold a claim",
    ),
    (
        "tower::load_shed::",
        "shedding load is inside: what it turns away would be claimed first",
    ),
];

/// Checks that the service may be inside.
///
/// # Panics
/// When it may not, as far as its type tells: axum's own types hide what is in them.
#[track_caller]
pub(crate) fn check<S>() {
    let name = type_name::<S>();
    for (outside, why) in OUTSIDE {
        assert!(
            !name.contains(outside),
            "`IdempotencyLayer` is at the wrong place: {why}. Put that layer outside of it"
        );
    }
}
