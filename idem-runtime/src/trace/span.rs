//! The spans of deliveries, attempts, replays and redrives.

use tracing::Span;
use tracing::field::Empty;

use super::{TraceContext, TraceParent};
use crate::call::Attempt;
use crate::protocol::{DeadLetter, Origin, RecordId};

/// Returns the context of the span that this code runs in, where OpenTelemetry is on.
pub(crate) fn current() -> Option<TraceContext> {
    #[cfg(feature = "opentelemetry")]
    return super::otel::current();
    #[cfg(not(feature = "opentelemetry"))]
    None
}

/// Returns the context of a span, where OpenTelemetry is on.
#[cfg_attr(
    not(feature = "opentelemetry"),
    expect(unused_variables, reason = "it has none then")
)]
pub(crate) fn of(span: &Span) -> Option<TraceContext> {
    #[cfg(feature = "opentelemetry")]
    return super::otel::of(span);
    #[cfg(not(feature = "opentelemetry"))]
    None
}

/// Returns the span of a delivery, whose parent is the span that sent the message. The names are
/// those of the [conventions for messaging].
///
/// [conventions for messaging]: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
pub(crate) fn delivery(origin: &Origin, sent: Option<&TraceContext>) -> Span {
    let span = tracing::info_span!(
        "idem.delivery",
        otel.name = format_args!("process {}", origin.source),
        otel.kind = "consumer",
        messaging.system = origin.broker,
        messaging.destination.name = origin.source,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.message.id = origin.message_id,
        trace_id = Empty,
    );
    continues(&span, sent);
    span
}

/// Returns the span of an attempt. Its parent is the span of the caller, else what came with the
/// call.
pub(crate) fn attempt(attempt: &Attempt, came_with: Option<&TraceContext>) -> Span {
    let span = tracing::info_span!(
        "idem.attempt",
        handler = &*attempt.handler,
        key = &*attempt.key,
        number = attempt.number,
        of = attempt.of,
        outcome = Empty,
        otel.status_code = Empty,
        trace_id = Empty,
    );
    continues(&span, came_with.filter(|_| current().is_none()));
    span
}

/// Returns the span of a body that is given these messages. Their attempts have spans of their own.
pub(crate) fn batch(messages: &[RecordId]) -> Span {
    tracing::info_span!(
        "idem.batch",
        handler = messages.first().map(|id| &*id.handler),
        messages = messages.len(),
    )
}

/// Says in an attempt's span how it ended.
pub(crate) fn attempted(span: &Span, outcome: &'static str) {
    span.record("outcome", outcome);
    if !matches!(outcome, "done" | "existing" | "released") {
        span.record("otel.status_code", "ERROR");
    }
}

/// Makes the span of a call that is answered with a recorded result, with a link to the run that
/// made it.
pub(crate) fn replay(id: &RecordId, made_by: TraceParent, came_with: Option<&TraceContext>) {
    let span = tracing::info_span!(
        "idem.replay",
        handler = &*id.handler,
        key = &*id.key,
        recorded_trace_id = Empty,
        trace_id = Empty,
    );
    links(&span, "recorded_trace_id", Some(made_by));
    continues(&span, came_with.filter(|_| current().is_none()));
}

/// Returns the span of a redrive: a new trace, with a link to the one in which the message died.
pub(crate) fn redrive(letter: &DeadLetter) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "idem.redrive",
        handler = letter.handler,
        key = letter.key,
        letter = %letter.id,
        dead_trace_id = Empty,
        trace_id = Empty,
    );
    links(&span, "dead_trace_id", letter.trace);
    continues(&span, None);
    span
}

/// Begins a span, as the child of this parent if there is one, and says which trace it belongs to.
fn continues(span: &Span, parent: Option<&TraceContext>) {
    if span.is_disabled() {
        return;
    }
    #[cfg(feature = "opentelemetry")]
    if let Some(parent) = parent {
        super::otel::set_parent(span, parent);
    }
    let own = of(span);
    if let Some(context) = own.as_ref().or(parent) {
        span.record("trace_id", context.parent().trace_id());
    }
}

/// Links a span to a trace, whose id the field names.
fn links(span: &Span, field: &str, to: Option<TraceParent>) {
    let Some(to) = to.filter(|_| !span.is_disabled()) else {
        return;
    };
    span.record(field, to.trace_id());
    #[cfg(feature = "opentelemetry")]
    super::otel::add_link(span, &to.into());
}
