//! The key that a client sends: the header `Idempotency-Key`, as the draft of the IETF writes it.

use std::fmt;

use http::{HeaderMap, HeaderValue};

use crate::headers::KEY;

/// The longest key, in bytes.
const LONGEST: usize = 255;

/// The idempotency key of a request, as the client sent it. The layer puts it into the request's
/// extensions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Reads the header: one string of RFC 9651, `"8e03978e"`, or the same without the quotes, of 1
    /// to 255 printable ASCII characters. Returns `None` if there is no header.
    ///
    /// # Errors
    /// With the reason, when it is anything else, or there more than once.
    ///
    /// ```
    /// use idem_http::IdempotencyKey;
    ///
    /// let mut headers = http::HeaderMap::new();
    /// assert_eq!(IdempotencyKey::from_headers(&headers), Ok(None));
    /// headers.insert("idempotency-key", "\"8e03978e\"".parse()?);
    /// assert_eq!(IdempotencyKey::from_headers(&headers)?.unwrap().as_str(), "8e03978e");
    /// headers.append("idempotency-key", "\"another\"".parse()?);
    /// assert!(IdempotencyKey::from_headers(&headers).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, &'static str> {
        let mut values = headers.get_all(KEY).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err("the header is there more than once");
        }
        let text = value
            .to_str()
            .map_err(|_| "the key is not printable ASCII")?;
        let key = match text.trim_matches(' ').strip_prefix('"') {
            Some(quoted) => item(quoted)?,
            None => token(text.trim_matches(' '))?,
        };
        Self::new(key).map(Some)
    }

    /// Returns this key, of 1 to 255 printable ASCII characters: one that a client has stored with
    /// the operation, or that stands in a field of the request.
    ///
    /// # Errors
    /// With the reason, when it is anything else.
    pub fn new(key: impl Into<String>) -> Result<Self, &'static str> {
        let key = key.into();
        match key.len() {
            0 => Err("the key is empty"),
            _ if !key.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                Err("the key is not printable ASCII")
            }
            1..=LONGEST => Ok(Self(key)),
            _ => Err("the key has more than 255 characters"),
        }
    }

    /// Returns the header's value: a string of RFC 9651, `"8e03978e"` with its quotes.
    ///
    /// ```
    /// use idem_http::IdempotencyKey;
    ///
    /// let key = IdempotencyKey::new("8e03978e")?;
    /// let request = http::Request::post("/orders").header("idempotency-key", key.to_header());
    /// # request.body(()).unwrap();
    /// # Ok::<(), &'static str>(())
    /// ```
    pub fn to_header(&self) -> HeaderValue {
        let escaped = self.0.replace('\\', "\\\\").replace('"', "\\\"");
        let value = HeaderValue::try_from(format!("\"{escaped}\""));
        // Only a person who edits a letter gets here another key, and an empty one is refused.
        value.unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }

    /// Returns the key without its quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key as a letter has it.
    pub(crate) fn from_stored(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const BROKEN: &str = "the key is not a string of RFC 9651, such as \"8e03978e\"";

/// Reads a string of RFC 9651 behind its first quote, to the end of the header. Parameters are
/// ignored, as unknown ones have to be. What stands behind them is not: a proxy joins two headers
/// into one.
fn item(quoted: &str) -> Result<String, &'static str> {
    let (key, mut rest) = string(quoted)?;
    while !rest.is_empty() {
        let parameter = rest.strip_prefix(';').ok_or(BROKEN)?;
        let named = behind(parameter.trim_start_matches(' '), |char| {
            char.is_ascii_lowercase() || char.is_ascii_digit() || "_-.*".contains(char)
        })?;
        rest = match named.strip_prefix('=') {
            None => named,
            Some(value) => match value.strip_prefix('"') {
                Some(quoted) => string(quoted)?.1,
                None => behind(value, |char| !"\",; ".contains(char))?,
            },
        };
    }
    Ok(key)
}

/// Returns what stands behind the characters that are meant, of which there is one at least.
fn behind(text: &str, is_meant: impl Fn(char) -> bool) -> Result<&str, &'static str> {
    match text.find(|char| !is_meant(char)).unwrap_or(text.len()) {
        0 => Err(BROKEN),
        end => Ok(&text[end..]),
    }
}

/// Reads a string behind its first quote, and returns what stands behind its last.
fn string(quoted: &str) -> Result<(String, &str), &'static str> {
    let mut text = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    loop {
        match chars.next().ok_or(BROKEN)? {
            '"' => return Ok((text, chars.as_str())),
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                _ => return Err(BROKEN),
            },
            plain @ ' '..='~' => text.push(plain),
            _ => return Err(BROKEN),
        }
    }
}

/// Reads a key without quotes.
fn token(text: &str) -> Result<String, &'static str> {
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
    match text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("a key with spaces, commas, semicolons or quotes stands in quotes"),
    }
}
