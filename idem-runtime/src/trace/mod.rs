//! Distributed traces: the [W3C Trace Context] of a message or request, kept in its record and
//! letter, and handed on with what its attempts send.
//!
//! Spans go through `tracing`. Without the feature `opentelemetry` the ids of a trace are fields of
//! the spans, and the context that came with a message is handed on as it came. With the feature,
//! and a layer of `tracing-opentelemetry` in the service's subscriber, the spans have real parents
//! and links, and what an attempt sends names the attempt's own span.
//!
//! [W3C Trace Context]: https://www.w3.org/TR/trace-context-2/

mod context;
#[cfg(feature = "opentelemetry")]
mod otel;
mod parent;
pub(crate) mod span;
mod state;

pub use context::TraceContext;
pub(crate) use context::hand_on;
pub use parent::{InvalidTraceParent, TraceParent};

/// The header with the ids and flags of a trace.
pub(crate) const TRACEPARENT: &str = "traceparent";
/// The header with what tracing systems add to it.
pub(crate) const TRACESTATE: &str = "tracestate";

/// Returns the position in its trace of what runs here: its own span's where OpenTelemetry is on,
/// else what came with the call.
pub(crate) fn parent(came_with: Option<&TraceContext>) -> Option<TraceParent> {
    let own = span::current();
    own.as_ref().or(came_with).map(TraceContext::parent)
}

/// Returns whether a header belongs to a trace's context.
pub(crate) fn is_header(name: &str) -> bool {
    name.eq_ignore_ascii_case(TRACEPARENT) || name.eq_ignore_ascii_case(TRACESTATE)
}
