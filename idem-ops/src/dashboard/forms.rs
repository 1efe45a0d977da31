//! Forms and queries: names with values, a name more than once where boxes are ticked.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use idem_runtime::DeadLetterId;
use url::form_urlencoded;

use super::Dashboard;
use super::error::PageError;
use super::session_guard::Visit;

/// A payload of 1 MiB is at most three times as long in a form; the rest of the form is small.
const LARGEST: usize = 3 * 1024 * 1024 + 64 * 1024;
/// A selection has 1,000 letters.
const FIELDS: usize = 1_100;
/// How long a form may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);
/// The name of the field that proves that a form came from this session's own page.
pub(super) const CSRF: &str = "csrf";

/// Names with values, as they were sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The first so many; the rest costs nothing.
    pub(super) fn parse(text: &[u8], most: usize) -> Self {
        Self(
            form_urlencoded::parse(text)
                .take(most)
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    pub(super) fn of_query(parts: &Parts) -> Self {
        Self::parse(parts.uri.query().unwrap_or_default().as_bytes(), FIELDS)
    }

    /// What stands in a field, without spaces around it; nothing where it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.raw(name)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    /// What stands in a field, as it was typed: a key may begin with a space.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// What stands in a field that may not be empty.
    pub(super) fn need(&self, name: &str, what: &str) -> Result<&str, PageError> {
        self.get(name)
            .ok_or_else(|| PageError::bad(format!("{what} is missing: go back and fill it in")))
    }

    /// The letters whose boxes are ticked.
    pub(super) fn ids(&self) -> Result<Vec<DeadLetterId>, PageError> {
        let ids = self
            .0
            .iter()
            .filter(|(name, _)| name == "id")
            .map(|(_, value)| letter_id(value));
        ids.collect()
    }

    /// A query of these fields, without those that are empty.
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
        .map_err(|_| PageError::missing(format!("“{text}” is no letter's id")))
}

/// The body of a form of at most so many bytes, which have to come in time.
pub(super) async fn read(
    body: Body,
    most: usize,
    dashboard: &Dashboard,
) -> Result<Bytes, PageError> {
    let clock = dashboard.service.idem().clock();
    tokio::select! {
        // The client of a connection that broke off is gone.
        read = to_bytes(body, most) => read.map_err(|_| PageError::TooLarge(most)),
        () = clock.sleep(ARRIVAL) => Err(PageError::Unfinished),
    }
}

/// A form whose CSRF token is this session's: no handler of a change gets its fields in another
/// way.
pub(super) struct Signed {
    pub visit: Visit,
    pub fields: Fields,
}

impl FromRequest<Dashboard> for Signed {
    type Rejection = PageError;

    async fn from_request(request: Request, dashboard: &Dashboard) -> Result<Self, PageError> {
        let visit = request
            .extensions()
            .get::<Visit>()
            .cloned()
            .ok_or(PageError::NotSignedIn)?;
        let bytes = read(request.into_body(), LARGEST, dashboard).await?;
        let fields = Fields::parse(&bytes, FIELDS + 1);
        if fields.0.len() > FIELDS {
            return Err(PageError::TooManyFields(FIELDS));
        }
        if !visit.session.csrf.is(fields.raw(CSRF).unwrap_or_default()) {
            return Err(PageError::Forged(
                "the form is not from this session's own page",
            ));
        }
        Ok(Self { visit, fields })
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
        assert!(fields.need("why", "A reason").is_err());
        assert!(fields.ids().is_err(), "`x` is no id");
        assert_eq!(
            Fields::query(&[("key", Some("a&b=c")), ("after", None)]),
            "key=a%26b%3Dc"
        );
    }
}
