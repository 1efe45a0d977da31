//! A trace's context as it goes from process to process.

use std::sync::Arc;

use super::{TRACEPARENT, TRACESTATE, TraceParent, is_header, state};

/// The context of a trace that came with a message or request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    parent: TraceParent,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// Returns the context that these headers carry, `traceparent` and `tracestate` in any case.
    /// `None` if there is no `traceparent`, or there are several, or it is rubbish: then a new trace
    /// begins. A `tracestate` that is rubbish is left out, and of a long one the first 512 bytes are
    /// kept.
    ///
    /// ```
    /// use idem_runtime::trace::TraceContext;
    ///
    /// let headers = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
    /// let context = TraceContext::from_headers(headers).ok_or("no trace")?;
    /// assert_eq!(context.parent().trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    /// assert_eq!(TraceContext::from_headers([("traceparent", "rubbish")]), None);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn from_headers<N: AsRef<str>, V: AsRef<[u8]>>(
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Option<Self> {
        let (mut parents, mut states) = (Vec::new(), Vec::new());
        for (name, value) in headers {
            if name.as_ref().eq_ignore_ascii_case(TRACEPARENT) {
                parents.push(value);
            } else if name.as_ref().eq_ignore_ascii_case(TRACESTATE) {
                states.push(value);
            }
        }
        let [parent] = parents.as_slice() else {
            return None;
        };
        let parent = std::str::from_utf8(parent.as_ref()).ok()?.parse().ok()?;
        let state = state::read(states.iter().map(AsRef::as_ref));
        Some(Self { parent, state })
    }

    #[cfg(feature = "opentelemetry")]
    pub(super) fn new(parent: TraceParent, state: Option<Arc<str>>) -> Self {
        Self { parent, state }
    }

    /// Returns the position in the trace that the work continues from.
    pub fn parent(&self) -> TraceParent {
        self.parent
    }

    /// Returns what tracing systems added to it: the value of `tracestate`. Records do not keep it.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

impl From<TraceParent> for TraceContext {
    fn from(parent: TraceParent) -> Self {
        let state = None;
        Self { parent, state }
    }
}

/// Adds a trace's context to the headers of a message, unless its sender has set one.
pub(crate) fn hand_on(context: Option<&TraceContext>, headers: &mut Vec<(String, String)>) {
    let Some(TraceContext { parent, state }) = context else {
        return;
    };
    if headers.iter().any(|(name, _)| is_header(name)) {
        return;
    }
    headers.push((TRACEPARENT.to_owned(), parent.to_string()));
    if let Some(state) = state {
        headers.push((TRACESTATE.to_owned(), state.to_string()));
    }
}
