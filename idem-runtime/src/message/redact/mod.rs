//! `redact(…)`: removes secrets from a payload before it is stored.
//!
//! The text is rewritten rather than parsed to a value: numbers of 128 bits would lose their last
//! digits, and of a repeated key only one would be seen.

mod names;
pub(crate) mod parts;
mod spelling;
mod type_path;

use std::collections::HashMap;
use std::fmt;

pub(crate) use names::Names;
use serde::Deserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use smallvec::SmallVec;
pub(crate) use spelling::Spelling;

use crate::json::Json;

/// Replaces each part of a stored payload that `redact(…)` names.
pub const REDACTED: &str = "[redacted]";

/// Returns the payload with the parts at the paths replaced. A `null` stays.
///
/// # Errors
/// When the payload is not JSON.
pub(crate) fn redact(payload: &[u8], paths: &[&str]) -> serde_json::Result<Vec<u8>> {
    rewritten(
        payload,
        &paths.iter().copied().map(Some).collect::<Rests<'_>>(),
    )
}

/// Returns what is stored in place of bytes that must not be kept.
pub(crate) fn summary(bytes: &[u8]) -> Json {
    json!({ "content": REDACTED, "bytes": bytes.len(), "blake3": &*blake3::hash(bytes).to_hex() })
        .into()
}

/// Whether a payload is a [`summary`].
pub(crate) fn is_summary(payload: &Json) -> bool {
    let fields = payload.parse::<HashMap<String, Value>>();
    fields.is_ok_and(|fields| {
        fields.len() == 3
            && fields.contains_key("blake3")
            && fields.contains_key("bytes")
            && fields
                .get("content")
                .is_some_and(|content| content == REDACTED)
    })
}

/// Whether the placeholder stands at the path, or in an array on it at least once.
pub(crate) fn is_redacted(payload: &str, path: &str) -> bool {
    stands(payload, Some(path))
}

fn stands(text: &str, rest: Option<&str>) -> bool {
    match (text.as_bytes().first(), rest) {
        (Some(b'"'), None) => {
            serde_json::from_str::<String>(text).is_ok_and(|text| text == REDACTED)
        }
        (Some(b'['), Some(_)) => serde_json::from_str::<Vec<&RawValue>>(text)
            .is_ok_and(|items| items.iter().any(|item| stands(item.get(), rest))),
        (Some(b'{'), Some(path)) => {
            let (name, rest) = step(path);
            serde_json::from_str::<HashMap<String, &RawValue>>(text).is_ok_and(|fields| {
                fields
                    .get(name)
                    .is_some_and(|value| stands(value.get(), rest))
            })
        }
        _ => false,
    }
}

/// A path's first name, and what follows it.
fn step(path: &str) -> (&str, Option<&str>) {
    path.split_once('.')
        .map_or((path, None), |(name, rest)| (name, Some(rest)))
}

/// A place in a payload, as far as hiding goes.
trait Place {
    /// Whether the value that stands here, as JSON, is hidden.
    fn hides(&self, value: &str) -> bool;
    /// Whether something further in may be hidden.
    fn leads_on(&self) -> bool;
    /// The place of a field.
    fn field(&self, name: &str) -> Self;
    /// The place of each element.
    fn element(&self) -> Self;
}

/// What is left here of each path that leads here: nothing where it ends.
type Rests<'p> = SmallVec<[Option<&'p str>; 4]>;

impl Place for Rests<'_> {
    fn hides(&self, _: &str) -> bool {
        self.contains(&None)
    }

    fn leads_on(&self) -> bool {
        !self.is_empty()
    }

    fn field(&self, name: &str) -> Self {
        let steps = self.iter().flatten().copied().map(step);
        steps
            .filter(|(first, _)| *first == name)
            .map(|(_, rest)| rest)
            .collect()
    }

    fn element(&self) -> Self {
        self.clone()
    }
}

fn rewritten(payload: &[u8], at: &impl Place) -> serde_json::Result<Vec<u8>> {
    let mut into = Vec::with_capacity(payload.len() + REDACTED.len());
    rewrite(&mut into, serde_json::from_slice(payload)?, at)?;
    Ok(into)
}

/// Copies a value; only what may hold something hidden is looked into.
fn rewrite(into: &mut Vec<u8>, value: &RawValue, at: &impl Place) -> serde_json::Result<()> {
    let text = value.get();
    if text != "null" && at.hides(text) {
        return serde_json::to_writer(into, REDACTED);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    match text.as_bytes().first() {
        Some(b'{') if at.leads_on() => json.deserialize_map(Inside { into, at }),
        Some(b'[') if at.leads_on() => json.deserialize_seq(Inside { into, at }),
        _ => {
            into.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
}

/// Copies what is inside an object or an array.
struct Inside<'a, P> {
    into: &'a mut Vec<u8>,
    at: &'a P,
}

impl<'de, P: Place> Visitor<'de> for Inside<'_, P> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.into.push(b'{');
        let mut first = true;
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if !std::mem::take(&mut first) {
                self.into.push(b',');
            }
            serde_json::to_writer(&mut *self.into, &name).map_err(A::Error::custom)?;
            self.into.push(b':');
            rewrite(self.into, value, &self.at.field(&name)).map_err(A::Error::custom)?;
        }
        self.into.push(b'}');
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.into.push(b'[');
        let (mut first, element) = (true, self.at.element());
        while let Some(item) = items.next_element::<&RawValue>()? {
            if !std::mem::take(&mut first) {
                self.into.push(b',');
            }
            rewrite(self.into, item, &element).map_err(A::Error::custom)?;
        }
        self.into.push(b']');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn assert_redacted(json: &str, paths: &[&str], expected: &str) {
        let payload = redact(json.as_bytes(), paths).unwrap();
        assert_eq!(String::from_utf8(payload).unwrap(), expected);
    }

    #[test]
    fn what_is_at_a_path_goes_whatever_it_is() {
        for secret in [
            "\"x\"",
            "1",
            "true",
            "[1,{}]",
            "{\"a\":null}",
            "\"[redacted]\"",
        ] {
            let json = format!(r#"{{"a":1,"b":{{"c":{secret},"d":2}}}}"#);
            assert_redacted(&json, &["b.c"], r#"{"a":1,"b":{"c":"[redacted]","d":2}}"#);
        }
    }

    #[test]
    fn what_is_not_there_is_left_alone() {
        for json in [
            r#"{"a":1}"#,
            r#"{"b":null}"#,
            r#"{"b":{"c":null}}"#,
            r#"{"b":7}"#,
            r#"{"b":[]}"#,
            r#"{"b":"c"}"#,
        ] {
            assert_redacted(json, &["b.c", "x"], json);
        }
    }

    #[test]
    fn a_path_through_arrays_means_each_element() {
        assert_redacted(
            r#"{"a":[{"b":1,"c":1},7,{"c":2},[{"b":3}],null]}"#,
            &["a.b"],
            r#"{"a":[{"b":"[redacted]","c":1},7,{"c":2},[{"b":"[redacted]"}],null]}"#,
        );
        assert_redacted(r#"{"a":[1,2]}"#, &["a"], r#"{"a":"[redacted]"}"#);
    }

    #[test]
    fn the_rest_stays_as_it_is_written() {
        let large = u128::MAX;
        let json = format!(r#"{{"n":{large},"f":1.00,"k":1,"s":"\u0061","k":2}}"#);
        let expected =
            format!(r#"{{"n":{large},"f":1.00,"k":"[redacted]","s":"\u0061","k":"[redacted]"}}"#);
        assert_redacted(&json, &["k"], &expected);
        assert_redacted(
            "{ \"\\u0061\" : [ 1 ] , \"b\" : 1 }",
            &["a"],
            r#"{"a":"[redacted]","b":1}"#,
        );
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for json in ["", "{", r#"{"a":}"#, r#"{"a":{"b":}}"#] {
            assert!(redact(json.as_bytes(), &["a.b"]).is_err(), "{json}");
        }
    }

    /// Objects and arrays of few names, three deep, with a secret in every scalar.
    pub(super) fn value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![Just(json!("secret")), Just(json!(null)), Just(json!({}))];
        scalar.prop_recursive(3, 24, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::hash_map("[a-c]", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// The same on a value.
    fn expected(value: &mut Value, rest: Option<&str>) -> bool {
        match (value, rest) {
            (Value::Null, _) => false,
            (value, None) => {
                *value = REDACTED.into();
                true
            }
            // Each of them, also behind the first that has it.
            (Value::Array(items), rest) => items
                .iter_mut()
                .map(|item| expected(item, rest))
                .fold(false, std::ops::BitOr::bitor),
            (Value::Object(fields), Some(path)) => {
                let (name, rest) = step(path);
                fields
                    .get_mut(name)
                    .is_some_and(|value| expected(value, rest))
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_text_is_redacted_as_a_value_would_be(
            value in prop::collection::hash_map("[a-c]", value(), 0..3),
            paths in prop::sample::subsequence(vec!["a", "b.a", "b.c", "c.a.b", "c.b"], 0..5),
        ) {
            let value = Value::Object(value.into_iter().collect());
            let text = redact(value.to_string().as_bytes(), &paths).unwrap();
            let mut by_value = value;
            let there: Vec<_> = paths.iter().copied().filter(|path| expected(&mut by_value, Some(path))).collect();
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), by_value);
            let stands: Vec<_> = paths.iter().copied().filter(|path| is_redacted(&text, path)).collect();
            prop_assert_eq!(stands, there);
        }
    }
}
