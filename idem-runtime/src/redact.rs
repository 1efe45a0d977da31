//! `redact(…)`: what is secret in a payload goes before anybody stores it.
//!
//! The text is rewritten, not read as a value: numbers of 128 bits would lose their last digits, and of a key that is
//! there twice only one would be seen.

use std::collections::HashMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

/// What stands in a stored payload in place of each part that `redact(…)` names.
pub const REDACTED: &str = "[redacted]";

/// The payload without what is at the paths, and which of the paths were there. A `null` is nothing to hide.
///
/// # Errors
/// When the payload is no JSON.
pub(crate) fn redact(payload: &[u8], paths: &[&str]) -> serde_json::Result<(Vec<u8>, Vec<String>)> {
    let mut rewriting = Rewriting { into: Vec::with_capacity(payload.len() + REDACTED.len()), found: SmallVec::new() };
    let all: Paths<'_> = paths.iter().map(|path| Rest { path, rest: Some(path) }).collect();
    rewriting.value(serde_json::from_slice(payload)?, &all)?;
    let Rewriting { into, found } = rewriting;
    // In the order in which the handler names them.
    Ok((into, paths.iter().filter(|path| found.contains(path)).map(ToString::to_string).collect()))
}

/// Whether the placeholder stands at the path, or in an array on it at least once.
pub(crate) fn is_redacted(payload: &str, path: &str) -> bool {
    stands(payload, Some(path))
}

fn stands(text: &str, rest: Option<&str>) -> bool {
    match (text.as_bytes().first(), rest) {
        (Some(b'"'), None) => serde_json::from_str::<String>(text).is_ok_and(|text| text == REDACTED),
        (Some(b'['), Some(_)) => serde_json::from_str::<Vec<&RawValue>>(text)
            .is_ok_and(|items| items.iter().any(|item| stands(item.get(), rest))),
        (Some(b'{'), Some(path)) => {
            let (name, rest) = step(path);
            serde_json::from_str::<HashMap<String, &RawValue>>(text)
                .is_ok_and(|fields| fields.get(name).is_some_and(|value| stands(value.get(), rest)))
        }
        _ => false,
    }
}

/// A path's first name, and what follows it.
fn step(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)))
}

/// A path, and what is left of it at some place in the payload: nothing where it ends there.
#[derive(Clone, Copy)]
struct Rest<'p> {
    path: &'p str,
    rest: Option<&'p str>,
}

type Paths<'p> = SmallVec<[Rest<'p>; 4]>;

impl Rest<'_> {
    /// The path in the field of this name, if it leads there.
    fn under(self, name: &str) -> Option<Self> {
        let (first, rest) = step(self.rest?);
        (first == name).then_some(Self { rest, ..self })
    }
}

/// A payload that is being copied.
struct Rewriting<'p> {
    into: Vec<u8>,
    found: SmallVec<[&'p str; 4]>,
}

impl<'p> Rewriting<'p> {
    /// Copies a value; only what a path leads through is looked into.
    fn value(&mut self, value: &RawValue, paths: &[Rest<'p>]) -> serde_json::Result<()> {
        let text = value.get();
        let ends = paths.iter().filter(|path| path.rest.is_none());
        if text != "null" && ends.clone().next().is_some() {
            self.found.extend(ends.map(|path| path.path));
            return serde_json::to_writer(&mut self.into, REDACTED);
        }
        let mut json = serde_json::Deserializer::from_str(text);
        match text.as_bytes().first() {
            Some(b'{') if !paths.is_empty() => json.deserialize_map(Inside { rewriting: self, paths }),
            Some(b'[') if !paths.is_empty() => json.deserialize_seq(Inside { rewriting: self, paths }),
            _ => {
                self.into.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
    }
}

/// Copies what is inside an object or an array.
struct Inside<'a, 'p> {
    rewriting: &'a mut Rewriting<'p>,
    paths: &'a [Rest<'p>],
}

impl<'de> Visitor<'de> for Inside<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.rewriting.into.push(b'{');
        let mut first = true;
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if !std::mem::take(&mut first) {
                self.rewriting.into.push(b',');
            }
            serde_json::to_writer(&mut self.rewriting.into, &name).map_err(A::Error::custom)?;
            self.rewriting.into.push(b':');
            let paths: Paths<'_> = self.paths.iter().filter_map(|path| path.under(&name)).collect();
            self.rewriting.value(value, &paths).map_err(A::Error::custom)?;
        }
        self.rewriting.into.push(b'}');
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.rewriting.into.push(b'[');
        let mut first = true;
        while let Some(item) = items.next_element::<&RawValue>()? {
            if !std::mem::take(&mut first) {
                self.rewriting.into.push(b',');
            }
            self.rewriting.value(item, self.paths).map_err(A::Error::custom)?;
        }
        self.rewriting.into.push(b']');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn assert_redacted(json: &str, paths: &[&str], expected: &str, found: &[&str]) {
        let (payload, there) = redact(json.as_bytes(), paths).unwrap();
        assert_eq!(String::from_utf8(payload).unwrap(), expected);
        assert_eq!(there, found);
    }

    #[test]
    fn what_is_at_a_path_goes_whatever_it_is() {
        for secret in ["\"x\"", "1", "true", "[1,{}]", "{\"a\":null}", "\"[redacted]\""] {
            let json = format!(r#"{{"a":1,"b":{{"c":{secret},"d":2}}}}"#);
            assert_redacted(&json, &["b.c"], r#"{"a":1,"b":{"c":"[redacted]","d":2}}"#, &["b.c"]);
        }
    }

    #[test]
    fn what_is_not_there_is_left_alone() {
        for json in [r#"{"a":1}"#, r#"{"b":null}"#, r#"{"b":{"c":null}}"#, r#"{"b":7}"#, r#"{"b":[]}"#, r#"{"b":"c"}"#]
        {
            assert_redacted(json, &["b.c", "x"], json, &[]);
        }
    }

    #[test]
    fn a_path_through_arrays_means_each_element() {
        assert_redacted(
            r#"{"a":[{"b":1,"c":1},7,{"c":2},[{"b":3}],null]}"#,
            &["a.b"],
            r#"{"a":[{"b":"[redacted]","c":1},7,{"c":2},[{"b":"[redacted]"}],null]}"#,
            &["a.b"],
        );
        assert_redacted(r#"{"a":[1,2]}"#, &["a"], r#"{"a":"[redacted]"}"#, &["a"]);
    }

    #[test]
    fn the_rest_stays_as_it_is_written() {
        let large = u128::MAX;
        let json = format!(r#"{{"n":{large},"f":1.00,"k":1,"s":"\u0061","k":2}}"#);
        let expected = format!(r#"{{"n":{large},"f":1.00,"k":"[redacted]","s":"\u0061","k":"[redacted]"}}"#);
        assert_redacted(&json, &["k"], &expected, &["k"]);
        assert_redacted("{ \"\\u0061\" : [ 1 ] , \"b\" : 1 }", &["a"], r#"{"a":"[redacted]","b":1}"#, &["a"]);
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for json in ["", "{", r#"{"a":}"#, r#"{"a":{"b":}}"#] {
            assert!(redact(json.as_bytes(), &["a.b"]).is_err(), "{json}");
        }
    }

    /// Objects and arrays of few names, three deep, with a secret in every scalar.
    fn value() -> impl Strategy<Value = Value> {
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
            (Value::Array(items), rest) => {
                items.iter_mut().map(|item| expected(item, rest)).fold(false, std::ops::BitOr::bitor)
            }
            (Value::Object(fields), Some(path)) => {
                let (name, rest) = step(path);
                fields.get_mut(name).is_some_and(|value| expected(value, rest))
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
            let (text, found) = redact(value.to_string().as_bytes(), &paths).unwrap();
            let mut by_value = value;
            let there: Vec<_> = paths.iter().copied().filter(|path| expected(&mut by_value, Some(path))).collect();
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), by_value);
            prop_assert_eq!(found.clone(), there);
            for path in found {
                prop_assert!(is_redacted(&text, &path));
            }
        }
    }
}
