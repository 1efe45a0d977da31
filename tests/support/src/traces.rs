//! The spans of a test, as OpenTelemetry exports them.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

/// The trace that a test's messages are sent in.
pub const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The span that sends them.
pub const SENDER: &str = "00f067aa0ba902b7";
/// Both, as the header `traceparent`.
pub const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Records the spans of this thread while it lives.
pub struct Spans {
    exporter: InMemorySpanExporter,
    _guard: (SdkTracerProvider, DefaultGuard),
}

/// Begins to record the spans of this thread, with a layer as a service has it.
pub fn record() -> Spans {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let guard = tracing::subscriber::set_default(subscriber);
    Spans {
        exporter,
        _guard: (provider, guard),
    }
}

impl Spans {
    /// Returns the spans of this name that ended, in that order.
    ///
    /// # Panics
    /// If the exporter does not work.
    pub fn named(&self, name: &str) -> Vec<Exported> {
        let spans = self.exporter.get_finished_spans().unwrap();
        let named = spans.into_iter().filter(|span| span.name == name);
        named.map(Exported).collect()
    }

    /// Returns the only span of this name.
    ///
    /// # Panics
    /// If there is none, or there are several.
    #[track_caller]
    pub fn only(&self, name: &str) -> Exported {
        let mut spans = self.named(name);
        assert_eq!(spans.len(), 1, "{name}: {spans:#?}");
        spans.remove(0)
    }
}

/// A span that was exported.
#[derive(Debug, Clone)]
pub struct Exported(SpanData);

impl Exported {
    /// Returns the id of its trace.
    pub fn trace(&self) -> String {
        self.0.span_context.trace_id().to_string()
    }

    /// Returns its own id.
    pub fn id(&self) -> String {
        self.0.span_context.span_id().to_string()
    }

    /// Returns the id of its parent; zeros if it has none.
    pub fn parent(&self) -> String {
        self.0.parent_span_id.to_string()
    }

    /// Returns the trace and the span that each of its links leads to.
    pub fn links(&self) -> Vec<(String, String)> {
        let links = self.0.links.iter().map(|link| &link.span_context);
        links
            .map(|to| (to.trace_id().to_string(), to.span_id().to_string()))
            .collect()
    }

    /// Returns its position in its trace, as the header `traceparent`.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace(), self.id())
    }

    /// Returns the value of an attribute, or an empty text.
    pub fn attribute(&self, name: &str) -> String {
        let mut attributes = self.0.attributes.iter();
        let found = attributes.find(|attribute| attribute.key.as_str() == name);
        found.map_or_else(String::new, |attribute| attribute.value.to_string())
    }

    /// Returns its kind and its status, as `Debug` shows them.
    pub fn kind_and_status(&self) -> String {
        format!("{:?} {:?}", self.0.span_kind, self.0.status)
    }
}
