//! JSON text that stays as it is written.

mod place;
pub(crate) mod problem;
pub(crate) mod writing;

pub use problem::{from_json, json_problem};
use std::fmt::{self, Write};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// A JSON text that stays as it is written: integers of 128 bits and long decimals keep every
/// digit, which a [`serde_json::Value`] rounds.
///
/// `{}` prints it as it is, and `{:#}` on indented lines. Two are equal when their texts are.
///
/// serde_json reads it as a field or an element. In a `flatten`ed struct, an untagged or an
/// internally tagged enum, serde takes values apart first, and refuses it.
///
/// ```
/// use idem_runtime::json::Json;
///
/// let transfer: Json = r#"{ "wei": 20000000000000000001, "fee": 12345678901234567.89 }"#.parse()?;
/// assert_eq!(transfer.compact().as_str(), r#"{"wei":20000000000000000001,"fee":12345678901234567.89}"#);
/// assert_eq!(Json::from(serde_json::json!({ "qty": 2 })), Json::from_serialize(&std::collections::HashMap::from([("qty", 2)]))?);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// How deep objects and arrays may be nested in a message, an edit or a result. serde_json
    /// reads 127 levels, and lists and exports put a payload into objects of their own.
    pub const DEEPEST: usize = 100;

    /// Returns a value as serde_json writes it.
    ///
    /// # Errors
    /// When it cannot be turned into JSON.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// Returns the text without space around it.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads the text as any type.
    ///
    /// # Errors
    /// When the text does not fit the type.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(self.as_str())
    }

    /// Returns the text as a tree, which rounds integers beyond 64 bits and long decimals.
    ///
    /// # Errors
    /// When it is nested too deeply for serde_json (127), or holds a number that no `f64` can.
    pub fn to_value(&self) -> serde_json::Result<Value> {
        self.parse()
    }

    /// Returns the text without spaces between values.
    #[must_use]
    pub fn compact(&self) -> Self {
        let mut text = String::with_capacity(self.as_str().len());
        // Writing to a string cannot fail.
        let _ = lay_out(self.as_str(), false, &mut text);
        RawValue::from_string(text).map_or_else(|_| self.clone(), Self)
    }

    /// Returns how deep objects and arrays are nested.
    pub fn depth(&self) -> usize {
        depth(self.as_str())
    }

    /// Returns whether it is an object.
    pub fn is_object(&self) -> bool {
        self.as_str().starts_with('{')
    }

    /// Returns whether it is a string.
    pub fn is_string(&self) -> bool {
        self.as_str().starts_with('"')
    }

    /// Reads bytes that were stored as JSON; bytes that are not JSON become a string.
    pub(crate) fn stored(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
    }
}

/// Checks that the text is JSON, and not nested deeper than [`Json::DEEPEST`].
impl FromStr for Json {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> serde_json::Result<Self> {
        let json: Self = serde_json::from_str(text)?;
        match json.depth() {
            ..=Self::DEEPEST => Ok(json),
            depth => Err(serde_json::Error::custom(TooDeep(depth))),
        }
    }
}

/// The error of JSON that is nested deeper than [`Json::DEEPEST`].
pub(crate) struct TooDeep(pub(crate) usize);

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it is nested {} deep, and {} is the limit",
            self.0,
            Json::DEEPEST
        )
    }
}

impl<T: Into<Value>> From<T> for Json {
    fn from(value: T) -> Self {
        // serde_json writes every `Value`: its keys are strings, its numbers finite.
        Self::from_serialize(&value.into()).unwrap_or_else(|_| Self(RawValue::NULL.to_owned()))
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            lay_out(self.as_str(), true, f)
        } else {
            f.write_str(self.as_str())
        }
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes a JSON text with new spaces between its tokens: on lines, as
/// `serde_json::to_string_pretty`, or without any. A serializer would have to parse the numbers.
fn lay_out(text: &str, on_lines: bool, into: &mut impl Write) -> fmt::Result {
    let (mut depth, mut last) = (0_usize, "");
    for token in tokens(text) {
        let (opened, closes) = (matches!(last, "{" | "["), matches!(token, "}" | "]"));
        if closes {
            depth = depth.saturating_sub(1);
        }
        if on_lines && (last == "," || opened != closes) {
            // Deeper text was stored before there was a limit, and would be mostly indentation.
            write!(into, "\n{:1$}", "", 2 * depth.min(Json::DEEPEST))?;
        }
        into.write_str(token)?;
        if on_lines && token == ":" {
            into.write_char(' ')?;
        }
        if matches!(token, "{" | "[") {
            depth += 1;
        }
        last = token;
    }
    Ok(())
}

/// Returns how deep objects and arrays are nested in a JSON text.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match byte {
            b'"' => rest = behind.get(string(behind)..).unwrap_or_default(),
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Returns the tokens: strings with their quotes, other scalars, and each of `{}[],:`.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let length = match rest.as_bytes().first()? {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            b'"' => 1 + string(&rest.as_bytes()[1..]),
            _ => rest
                .find(|c: char| matches!(c, ',' | '}' | ']') || c.is_ascii_whitespace())
                .unwrap_or(rest.len()),
        };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        Some(token)
    })
}

/// Returns how long the rest of a string is whose first quote is behind, with its last one.
fn string(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = text
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
    {
        at += found + 1;
        if text[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_laid_out_as_serde_json_does_and_scalars_stay_as_they_are_written() {
        let value = json!({ "a": [], "b": {}, "c": [1, [2, { "d": null }], ",:{}[]\"\\ \u{e9}"], "e": { "f": [{}] }, "": true });
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        for written in [
            value.to_string(),
            pretty.clone(),
            pretty.replace('\n', "\r\n\t"),
        ] {
            let json: Json = format!(" {written}\n").parse().unwrap();
            assert_eq!(format!("{json:#}"), pretty);
            assert_eq!(json.compact(), Json::from(value.clone()));
            assert_eq!((json.to_string(), json.depth()), (written, 4));
        }
        for scalar in [
            "20000000000000000001",
            "12345678901234567.890",
            "-0",
            "1E400",
            r#""\u0061\\\"""#,
            "null",
        ] {
            let json: Json = format!(r#"{{ "a" : [ {scalar} , {scalar} ] }}"#)
                .parse()
                .unwrap();
            assert_eq!(
                json.compact().as_str(),
                format!(r#"{{"a":[{scalar},{scalar}]}}"#)
            );
            assert_eq!(
                format!("{json:#}"),
                format!("{{\n  \"a\": [\n    {scalar},\n    {scalar}\n  ]\n}}")
            );
            let alone: Json = scalar.parse().unwrap();
            assert_eq!(
                (format!("{alone:#}"), alone.depth()),
                (scalar.to_owned(), 0)
            );
        }
    }

    #[test]
    fn what_is_no_json_or_nested_too_deeply_is_refused() {
        for text in ["", "{", "{}{}", "nul", "[1,]", "\"\n\""] {
            text.parse::<Json>().unwrap_err();
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(
            nested(Json::DEEPEST).parse::<Json>().unwrap().depth(),
            Json::DEEPEST
        );
        let error = nested(101).parse::<Json>().unwrap_err().to_string();
        assert_eq!(error, "it is nested 101 deep, and 100 is the limit");
        // What was stored before there was a limit is shown all the same.
        let stored = Json::stored(nested(100_000).as_bytes());
        assert_eq!(
            (stored.depth(), stored.compact() == stored),
            (100_000, true)
        );
        assert!(format!("{stored:#}").len() < 300 * 200_000);
    }
}
