//! How the parts of an answer stand in its record: as text where they are text, so that people can read
//! them.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes in a record.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Octets<'r> {
    Text(#[serde(borrow)] Cow<'r, str>),
    Base64(#[serde(borrow)] Cow<'r, str>),
}

impl<'r> Octets<'r> {
    fn new(bytes: &'r [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Base64(STANDARD.encode(bytes).into()),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Text(Cow::Borrowed(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Self::Text(Cow::Owned(text)) => text.into(),
            // This crate wrote it.
            Self::Base64(text) => STANDARD.decode(&*text).unwrap_or_default().into(),
        }
    }
}

/// A body, if it was kept.
pub(crate) mod body {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Octets;

    pub(crate) fn serialize<S: Serializer>(
        body: &Option<Bytes>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        body.as_deref().map(Octets::new).serialize(serializer)
    }

    pub(crate) fn deserialize<'r, D: Deserializer<'r>>(
        deserializer: D,
    ) -> Result<Option<Bytes>, D::Error> {
        let body = Option::<Octets<'r>>::deserialize(deserializer)?;
        Ok(body.map(Octets::into_bytes))
    }
}

/// Headers: a list of names and values.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Headers(pub(crate) HeaderMap);

impl Headers {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let headers = self.0.iter();
        serializer.collect_seq(
            headers.map(|(name, value)| (name.as_str(), Octets::new(value.as_bytes()))),
        )
    }
}

impl<'r> Deserialize<'r> for Headers {
    fn deserialize<D: Deserializer<'r>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List)
    }
}

/// Reads headers from a list.
struct List;

#[derive(Deserialize)]
struct Header<'r>(#[serde(borrow)] Cow<'r, str>, #[serde(borrow)] Octets<'r>);

impl<'r> Visitor<'r> for List {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of headers")
    }

    fn visit_seq<A: SeqAccess<'r>>(self, mut seq: A) -> Result<Headers, A::Error> {
        let mut headers = HeaderMap::new();
        while let Some(Header(name, value)) = seq.next_element()? {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_maybe_shared(value.into_bytes());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        Ok(Headers(headers))
    }
}
