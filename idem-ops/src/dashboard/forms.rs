//! Forms and queries: fields with values; a field with check boxes occurs more than once.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::request::Parts;
use idem_runtime::DeadLetterId;
use url::form_urlencoded;

use super::error::PageError;
use super::state::Dashboard;

/// The maximum size of a form: a payload of 1 MiB is at most three times as long in it, and the
/// rest is small.
pub(super) const LARGEST: usize = 3 * 1024 * 1024 + 64 * 1024;
/// The maximum number of fields: a selection has up to 1,000 letters.
pub(super) const FIELDS: usize = 1_100;
/// The maximum time until a form has arrived.
const ARRIVAL: Duration = Duration::from_secs(30);
/// The field with the session's CSRF token.
pub(super) const CSRF: &str = "csrf";

/// Fields with values, as they were sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Parses at most `most` fields; the rest is ignored.
    pub(super) fn parse(text: &[u8], most: usize) -> Self {
        Self(
            form_urlencoded::parse(text)
                .take(most)
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// Parses the query of a request.
    pub(super) fn from_query(parts: &Parts) -> Self {
        Self::parse(parts.uri.query().unwrap_or_default().as_bytes(), FIELDS)
    }

    /// Returns a field's value without spaces around it, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.raw(name)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    /// Returns a field's value as it was typed: a key may begin with a space.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns a field's value without spaces around it, or an error that names `what`.
    pub(super) fn require(&self, name: &str, what: &str) -> Result<&str, PageError> {
        self.get(name)
            .ok_or_else(|| PageError::bad(format!("{what} is missing: go back and fill it in")))
    }

    /// Returns the number of fields.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the letters whose boxes are ticked.
    pub(super) fn ids(&self) -> Result<Vec<DeadLetterId>, PageError> {
        let ids = self
            .0
            .iter()
            .filter(|(name, _)| name == "id")
            .map(|(_, value)| letter_id(value));
        ids.collect()
    }

    /// Returns the query of these fields, without those that have no value.
    pub(super) fn query(fields: &[(&str, Option<&str>)]) -> String {
        let given = fields
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?)));
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(given)
            .finish()
    }
}

pub(super) fn letter_id(text: &str) -> Result<DeadLetterId, PageError> {
    text.parse()
        .map_err(|_| PageError::missing(format!("“{text}” is not the id of a letter")))
}

/// Reads a form of at most `most` bytes, within 30 seconds.
pub(super) async fn read(
    body: Body,
    most: usize,
    dashboard: &Dashboard,
) -> Result<Bytes, PageError> {
    let clock = dashboard.service.idem().clock();
    tokio::select! {
        // It also fails if the connection breaks off, but then nothing reads the answer.
        read = to_bytes(body, most) => read.map_err(|_| PageError::TooLarge(most)),
        () = clock.sleep(ARRIVAL) => Err(PageError::Unfinished),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_browsers_send_them() {
        let fields = Fields::parse(b"key=+A%2F1+&why=&id=x&handler=a%26b", 4);
        assert_eq!(fields.get("key"), Some("A/1"));
        assert_eq!(fields.raw("key"), Some(" A/1 "));
        assert_eq!(fields.get("why"), None);
        assert_eq!(fields.get("handler"), Some("a&b"));
        assert!(fields.require("why", "A reason").is_err());
        assert!(fields.ids().is_err(), "`x` is not an id");
        assert_eq!(
            Fields::query(&[("key", Some("a&b=c")), ("after", None)]),
            "key=a%26b%3Dc"
        );
    }
}
