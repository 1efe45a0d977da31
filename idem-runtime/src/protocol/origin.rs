//! The origin of a message, as its broker describes it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::protocol::encoding::cbor;
use crate::trace::{self, TraceContext};

/// The number of headers that are kept of a message.
const MOST_HEADERS: usize = 64;
/// The longest text that is kept, in bytes: a header's value, a name, an id.
const LONGEST_TEXT: usize = 1024;

/// Where a message came from: a broker, and a source in it. It is kept with the claim, and a dead
/// letter shows it.
///
/// It is bounded, because a message may come from anywhere: texts are cut at 1 KiB, and headers
/// past the 64th are left out, but for those of its [trace](Self::trace).
///
/// ```
/// # use idem_runtime::Origin;
/// let origin = Origin::new("rabbitmq", "orders").message_id("m-17").header("trace", "00-4bf9").header_bytes("raw", &[255]);
/// assert_eq!(origin.place(), "rabbitmq:orders");
/// assert_eq!(origin.headers[1], ("raw".to_owned(), "/w==".to_owned()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[non_exhaustive]
pub struct Origin {
    /// The kind of broker: `rabbitmq`, `nats`, `redis`, `kafka`.
    #[n(0)]
    pub broker: String,
    /// The queue, topic or stream.
    #[n(1)]
    pub source: String,
    /// The message's own id, if its publisher gave it one.
    #[n(2)]
    pub message_id: Option<String>,
    /// Its position in its source, if it can be found there again: `partition 3, offset 17`.
    #[n(3)]
    pub position: Option<String>,
    /// Its headers, name and value, in the message's order; binary values as base64.
    #[n(4)]
    #[cbor(with = "cbor::list", has_nil)]
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Whether the broker delivered the message before, where it says so.
    #[n(5)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redelivered: Option<bool>,
    /// The ordering key by which its consumer kept it in order. Messages with the same one that came
    /// later do not wait for a dead letter: one that is run comes after them.
    #[n(6)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
}

impl Origin {
    /// Returns the origin of a message from a source of a broker.
    pub fn new(broker: impl Into<String>, source: impl Into<String>) -> Self {
        Self {
            broker: cut(broker.into()),
            source: cut(source.into()),
            message_id: None,
            position: None,
            headers: Vec::new(),
            redelivered: None,
            ordering_key: None,
        }
    }

    /// Sets the message's own id.
    #[must_use]
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(cut(id.into()));
        self
    }

    /// Sets the message's position in its source.
    #[must_use]
    pub fn position(mut self, position: impl Into<String>) -> Self {
        self.position = Some(cut(position.into()));
        self
    }

    /// Sets whether the broker delivered the message before. Say `false` only where the broker
    /// counts a delivery to a process that died: `transaction = "fresh"` relies on it.
    #[must_use]
    pub fn redelivered(mut self, redelivered: bool) -> Self {
        self.redelivered = Some(redelivered);
        self
    }

    /// Sets the ordering key by which its consumer keeps it in order.
    #[must_use]
    pub fn ordering_key(mut self, key: impl Into<String>) -> Self {
        self.ordering_key = Some(cut(key.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (cut(name.into()), cut(value.into()));
        // Those of the trace are kept wherever they stand.
        let is_new = || self.headers.iter().all(|(known, _)| *known != name);
        if self.headers.len() < MOST_HEADERS || (trace::is_header(&name) && is_new()) {
            self.headers.push((name, value));
        }
        self
    }

    /// Adds a header. Its value is kept as text if it is UTF-8, else as base64.
    #[must_use]
    pub fn header_bytes(self, name: impl Into<String>, value: &[u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(value) {
            return self.header(name, text);
        }
        // Three bytes are four characters, so the base64 that is cut there still decodes.
        let kept = &value[..value.len().min(LONGEST_TEXT / 4 * 3)];
        self.header(name, BASE64_STANDARD.encode(kept))
    }

    /// Returns the trace that the message's headers carry.
    pub fn trace(&self) -> Option<TraceContext> {
        TraceContext::from_headers(self.headers.iter().map(|(name, value)| (name, value)))
    }

    /// Returns the broker and the source in one text, `rabbitmq:orders`, as
    /// [`Idem::register_publisher`] takes it.
    ///
    /// [`Idem::register_publisher`]: crate::Idem::register_publisher
    pub fn place(&self) -> String {
        format!("{}:{}", self.broker, self.source)
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_bounded_whatever_the_message_says() {
        let long = "é".repeat(2000);
        let mut origin = Origin::new(&*long, &*long)
            .message_id(&*long)
            .position(&*long);
        for _ in 0..100 {
            origin = origin
                .header(&*long, &*long)
                .header_bytes(&*long, &[255; 5000]);
        }
        let Origin {
            broker,
            source,
            message_id,
            position,
            headers,
            ..
        } = origin;
        assert_eq!(headers.len(), 64);
        assert_eq!(BASE64_STANDARD.decode(&headers[1].1).unwrap(), [255; 768]);
        let texts = headers.into_iter().flat_map(|(name, value)| [name, value]);
        for text in texts
            .chain([broker, source])
            .chain(message_id)
            .chain(position)
        {
            assert_eq!(text.len(), 1024);
        }
    }
}
