//! Requests as they are stored: what a letter shows, what must match for a key to be used again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use idem_runtime::json::Json;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::form_urlencoded;

use crate::key::IdempotencyKey;

/// A request with its key.
pub(crate) struct KeyedRequest {
    pub(crate) scope: String,
    pub(crate) key: IdempotencyKey,
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
    /// What must match for the key to be used again, where it is not read from the request as it is stored.
    pub(crate) compared: Option<Vec<u8>>,
}

/// What is stored of a request and has to be read for that.
pub(crate) struct ReadParts {
    query: Query,
    body: StoredBody,
}

/// By name, so that a secret in it can be redacted.
type Query = BTreeMap<String, Vec<String>>;

/// A request as it is stored. Headers that are not kept, `Authorization` and `Cookie` before all,
/// are not in it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredRequest<'r> {
    pub(crate) scope: Cow<'r, str>,
    pub(crate) key: Cow<'r, str>,
    method: Cow<'r, str>,
    path: Cow<'r, str>,
    #[serde(default, skip_serializing_if = "has_no_query")]
    query: Cow<'r, Query>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<Cow<'r, str>, Vec<Cow<'r, str>>>,
    #[serde(default)]
    body: Cow<'r, StoredBody>,
}

#[expect(clippy::ptr_arg, reason = "serde hands over the field")]
fn has_no_query(query: &Cow<'_, Query>) -> bool {
    query.is_empty()
}

/// A body: as JSON or text where it is such.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
enum StoredBody {
    #[default]
    #[serde(rename = "empty")]
    Empty,
    #[serde(rename = "json")]
    Json(Json),
    #[serde(rename = "text")]
    Text(String),
    #[serde(rename = "base64")]
    Base64(String),
}

impl KeyedRequest {
    /// Reads what is stored.
    pub(crate) fn read(&self) -> ReadParts {
        let mut query = Query::new();
        let pairs = self.address().query().map(|query| query.split('&'));
        for pair in pairs.into_iter().flatten() {
            let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
            for (name, value) in form_urlencoded::parse(pair.as_bytes()) {
                let values = query.entry(decoded(name, raw_name)).or_default();
                values.push(decoded(value, raw_value));
            }
        }
        ReadParts {
            query,
            body: StoredBody::new(&self.parts.headers, &self.body),
        }
    }

    /// Returns the request as it is stored, with those of its headers that are kept.
    pub(crate) fn stored<'r>(
        &'r self,
        read: &'r ReadParts,
        kept: &[HeaderName],
    ) -> StoredRequest<'r> {
        let mut headers = BTreeMap::<_, Vec<_>>::new();
        let sent = self.parts.headers.iter();
        for (name, value) in sent.filter(|(name, _)| kept.contains(name)) {
            let values = headers.entry(name.as_str().into()).or_default();
            values.push(String::from_utf8_lossy(value.as_bytes()));
        }
        StoredRequest {
            scope: self.scope.as_str().into(),
            key: self.key.as_str().into(),
            method: self.parts.method.as_str().into(),
            path: self.address().path().into(),
            query: Cow::Borrowed(&read.query),
            headers,
            body: Cow::Borrowed(&read.body),
        }
    }

    /// Returns what must match for the key to be used again: method, path, query and body, without
    /// the parts at these paths, as they are in a letter. A redacted part must not count: it could
    /// be guessed by its hash.
    pub(crate) fn fingerprint(&self, read: &ReadParts, left_out: &[String]) -> impl Serialize {
        let mut query = Cow::Borrowed(&read.query);
        let mut body = Cow::Borrowed(&read.body);
        let empty = || Cow::Owned(StoredBody::Empty);
        for path in left_out {
            match (path.split_once('.'), &*body) {
                (Some(("query", name)), _) => drop(query.to_mut().remove(name)),
                (None, _) if path == "query" => query.to_mut().clear(),
                (None, _) if path == "body" => body = empty(),
                (Some(("body", rest)), StoredBody::Json(json)) => match rest.split_once('.') {
                    Some(("json", path)) => {
                        body = Cow::Owned(StoredBody::Json(without(json, path)));
                    }
                    None if rest == "json" => body = empty(),
                    _ => {}
                },
                (Some(("body", "text")), StoredBody::Text(_)) => body = empty(),
                (Some(("body", "base64")), StoredBody::Base64(_)) => body = empty(),
                _ => {}
            }
        }
        let (method, path) = (self.parts.method.as_str(), self.address().path());
        (method, path, query, body)
    }

    /// Returns where the client sent the request: inside of a `nest` of axum the URI is without the
    /// prefix, so that two routes would share their keys.
    fn address(&self) -> &Uri {
        #[cfg(feature = "axum")]
        if let Some(axum::extract::OriginalUri(uri)) = self.parts.extensions.get() {
            return uri;
        }
        &self.parts.uri
    }
}

impl StoredRequest<'_> {
    /// Returns the request again, for a letter that is run.
    pub(crate) fn into_request(self) -> Result<Request<Bytes>, String> {
        let mut uri = self.path.into_owned();
        if !self.query.is_empty() {
            let pairs = self.query.iter().flat_map(|(name, values)| {
                let name = encoded(name);
                let pair = move |value: &String| format!("{name}={}", encoded(value));
                values.iter().map(pair)
            });
            uri = format!("{uri}?{}", pairs.collect::<Vec<_>>().join("&"));
        }
        let mut request = Request::new(self.body.into_owned().into_bytes());
        let problem = |what: &str| format!("the letter's {what} is not one of HTTP");
        *request.method_mut() =
            Method::from_bytes(self.method.as_bytes()).map_err(|_| problem("method"))?;
        *request.uri_mut() = uri.parse().map_err(|_| problem("path"))?;
        for (name, values) in self.headers {
            let name = HeaderName::try_from(&*name).map_err(|_| problem("header"))?;
            for value in values {
                let value = HeaderValue::try_from(&*value).map_err(|_| problem("header"))?;
                request.headers_mut().append(&name, value);
            }
        }
        let key = IdempotencyKey::from_stored(self.key.into_owned());
        request.extensions_mut().insert(key);
        Ok(request)
    }
}

impl StoredBody {
    fn new(headers: &HeaderMap, body: &Bytes) -> Self {
        if body.is_empty() {
            return Self::Empty;
        }
        let Ok(text) = std::str::from_utf8(body) else {
            return Self::Base64(STANDARD.encode(body));
        };
        let json = is_json(headers).then(|| serde_json::from_str::<Json>(text).ok());
        let json = json.flatten();
        match json.filter(|json| json.depth() < Json::DEEPEST - 8) {
            Some(json) => Self::Json(json),
            None => Self::Text(text.to_owned()),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::Json(json) => json.as_str().to_owned().into(),
            Self::Text(text) => text.into(),
            Self::Base64(text) => STANDARD.decode(text).unwrap_or_default().into(),
        }
    }
}

/// Stands before a part of a query that is not UTF-8, and is kept as it was sent: decoded, parts
/// that differ would be the same.
const NOT_DECODED: char = char::REPLACEMENT_CHARACTER;

fn decoded(part: Cow<'_, str>, raw: &str) -> String {
    match part.contains(NOT_DECODED) {
        true => format!("{NOT_DECODED}{raw}"),
        false => part.into_owned(),
    }
}

fn encoded(part: &str) -> String {
    match part.strip_prefix(NOT_DECODED) {
        Some(raw) => raw.to_owned(),
        None => form_urlencoded::byte_serialize(part.as_bytes()).collect(),
    }
}

/// Whether a body is said to be JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let media_type = value.unwrap_or_default().split(';').next();
    let media_type = media_type.unwrap_or_default().trim();
    let suffix = media_type.rsplit_once('+').map(|(_, suffix)| suffix);
    media_type.eq_ignore_ascii_case("application/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("json"))
}

/// Returns a body without the fields at a dotted path, which leads through arrays, too.
fn without(json: &Json, path: &str) -> Json {
    let Ok(mut value) = json.to_value() else {
        return json.clone();
    };
    remove(&mut value, path);
    value.into()
}

fn remove(value: &mut Value, path: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| remove(item, path)),
        Value::Object(fields) => match path.split_once('.') {
            Some((name, rest)) => {
                if let Some(field) = fields.get_mut(name) {
                    remove(field, rest);
                }
            }
            None => {
                fields.remove(path);
            }
        },
        _ => {}
    }
}
