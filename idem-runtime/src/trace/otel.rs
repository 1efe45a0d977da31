//! The bridge to OpenTelemetry: real parents and links, where the subscriber has a layer for them.

use std::str::FromStr;
use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{TraceContext, TraceParent};

/// Returns the context of the span that this code runs in.
pub(super) fn current() -> Option<TraceContext> {
    of(&Span::current()).or_else(|| of_context(&Context::current()))
}

/// Returns the context of a span, which begins with that.
pub(super) fn of(span: &Span) -> Option<TraceContext> {
    of_context(&span.context())
}

fn of_context(context: &Context) -> Option<TraceContext> {
    let span = context.span();
    let span = span.span_context();
    let flags = span.trace_flags().to_u8();
    let parent = TraceParent::new(span.trace_id().to_bytes(), span.span_id().to_bytes(), flags)?;
    let state = span.trace_state().header();
    let state = (!state.is_empty()).then(|| Arc::from(state));
    Some(TraceContext::new(parent, state))
}

/// Makes a span that has not begun continue a trace.
pub(super) fn set_parent(span: &Span, context: &TraceContext) {
    let parent = remote(context);
    // Without a layer of OpenTelemetry there is nothing to set.
    let _ = span.set_parent(Context::current().with_remote_span_context(parent));
}

pub(super) fn add_link(span: &Span, to: &TraceContext) {
    span.add_link(remote(to));
}

fn remote(context: &TraceContext) -> SpanContext {
    let (trace_id, span_id, flags) = context.parent().parts();
    let state = context.state().unwrap_or_default();
    SpanContext::new(
        TraceId::from_bytes(trace_id),
        SpanId::from_bytes(span_id),
        TraceFlags::new(flags),
        true,
        TraceState::from_str(state).unwrap_or_default(),
    )
}
