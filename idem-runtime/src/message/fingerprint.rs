//! What must match for a key to be used again: a hash over canonical JSON.
//!
//! Canonical are the order of an object's keys, how its keys are escaped, and the spaces between
//! values. Scalars stay as they are written: read as numbers, those of 128 bits would lose their
//! last digits.
//!
//! Of a whole payload a field that is `null` counts as one that is not there: a deploy that adds an
//! `Option` to a message leaves the fingerprint of those before as it was.

use std::ops::Range;

use smallvec::SmallVec;

use crate::json::Json;
use crate::protocol::Fingerprint;

/// A fingerprint that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Hasher {
    canonical: Vec<u8>,
    nulls: Nulls,
}

/// What a field counts that is `null`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Nulls {
    /// As its value.
    #[default]
    Kept,
    /// Nothing, and there was none so far.
    Absent,
    /// Nothing, and there was one.
    Dropped,
}

/// Why there is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unprintable {
    #[error("it is nested too deeply")]
    TooDeep,
    #[error("it is not JSON")]
    NoJson,
}

impl Hasher {
    /// Leaves fields out that are `null`. It puts the text together in a buffer that was used before.
    pub(crate) fn without_nulls(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self {
            canonical: buffer,
            nulls: Nulls::Absent,
        }
    }

    /// Returns whether a field that is `null` was left out.
    pub(crate) fn has_dropped_nulls(&self) -> bool {
        self.nulls == Nulls::Dropped
    }

    /// Adds one JSON text, as serde_json writes and keeps them.
    pub(crate) fn push(&mut self, json: &[u8]) -> Result<(), Unprintable> {
        // A comma is added to every object and array that is not empty, and what is sorted is there twice.
        self.canonical.reserve(2 * json.len() + 8);
        let mut reader = Reader {
            json,
            at: 0,
            copied: 0,
            into: &mut self.canonical,
            nulls: &mut self.nulls,
            fields: SmallVec::new(),
        };
        reader.value(Json::DEEPEST)?;
        if reader.peek().is_some() {
            return Err(Unprintable::NoJson);
        }
        reader.copy();
        self.canonical.push(b'\n');
        Ok(())
    }

    pub(crate) fn finish(&self) -> Fingerprint {
        let mut short = [0; 16];
        short.copy_from_slice(&blake3::hash(&self.canonical).as_bytes()[..16]);
        Fingerprint(short)
    }

    /// The buffer, to be used again.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.canonical
    }
}

/// Copies a JSON text, in runs as long as it is canonical, and sorts the fields of each object once
/// they are copied.
struct Reader<'a> {
    json: &'a [u8],
    at: usize,
    /// What is before this is in the copy.
    copied: usize,
    into: &'a mut Vec<u8>,
    nulls: &'a mut Nulls,
    /// Of the objects that are being read, the inner ones' last.
    fields: SmallVec<[Field; 8]>,
}

/// Where a field is in the copy, and the key in it.
struct Field {
    whole: Range<usize>,
    key: Range<usize>,
    is_dropped: bool,
}

impl Field {
    fn key<'a>(&self, copy: &'a [u8]) -> &'a [u8] {
        &copy[self.key.clone()]
    }
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<(), Unprintable> {
        match self.peek().ok_or(Unprintable::NoJson)? {
            b'{' => self.object(depth.checked_sub(1).ok_or(Unprintable::TooDeep)?),
            b'[' => self.array(depth.checked_sub(1).ok_or(Unprintable::TooDeep)?),
            b'"' => self.string().map(|_| ()),
            _ => self.scalar(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), Unprintable> {
        self.expect(b'{')?;
        let outer = self.fields.len();
        while self.peek() != Some(b'}') {
            let field = self.field(depth)?;
            self.fields.push(field);
        }
        self.copy();
        self.sort(outer);
        self.fields.truncate(outer);
        self.expect(b'}')
    }

    fn field(&mut self, depth: usize) -> Result<Field, Unprintable> {
        let (start, from) = (self.place(), self.at);
        if self.string()? {
            // There is more than one way to escape it.
            let key = &self.json[from..self.at];
            let text: String = serde_json::from_slice(key).map_err(|_| Unprintable::NoJson)?;
            self.into.extend_from_slice(&self.json[self.copied..from]);
            self.into
                .extend_from_slice(&serde_json::to_vec(&text).map_err(|_| Unprintable::NoJson)?);
            self.copied = self.at;
        }
        // Without its quotes, a key sorts before what it begins.
        let key = start + 1..self.place() - 1;
        self.peek();
        self.expect(b':')?;
        self.peek();
        let value = self.at;
        self.value(depth)?;
        let is_dropped = *self.nulls != Nulls::Kept && self.json[value..self.at] == *b"null";
        if is_dropped {
            *self.nulls = Nulls::Dropped;
        }
        self.comma(b'}')?;
        Ok(Field {
            whole: start..self.place(),
            key,
            is_dropped,
        })
    }

    /// Sorts the copied fields of one object, and removes those that do not count. Of a key that is
    /// there more than once the last counts, as for readers.
    fn sort(&mut self, outer: usize) {
        let (fields, into) = (&mut self.fields[outer..], &mut *self.into);
        if fields.is_sorted_by(|one, other| one.key(into) < other.key(into))
            && !fields.iter().any(|field| field.is_dropped)
        {
            return;
        }
        let unsorted = fields[0].whole.start..into.len();
        fields.sort_by(|one, other| one.key(into).cmp(other.key(into)));
        for (at, field) in fields.iter().enumerate() {
            let next = fields.get(at + 1);
            if !field.is_dropped && next.is_none_or(|next| next.key(into) != field.key(into)) {
                into.extend_from_within(field.whole.clone());
            }
        }
        into.drain(unsorted);
    }

    fn array(&mut self, depth: usize) -> Result<(), Unprintable> {
        self.expect(b'[')?;
        while self.peek() != Some(b']') {
            self.value(depth)?;
            self.comma(b']')?;
        }
        self.expect(b']')
    }

    /// A string with its quotes, as it is written. Says whether there is a backslash in it.
    fn string(&mut self) -> Result<bool, Unprintable> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            let rest = self.json.get(self.at..).ok_or(Unprintable::NoJson)?;
            let found = memchr::memchr2(b'"', b'\\', rest).ok_or(Unprintable::NoJson)?;
            self.at += found + 1;
            if rest[found] == b'"' {
                return Ok(escaped);
            }
            self.at += 1;
            escaped = true;
        }
    }

    fn scalar(&mut self) -> Result<(), Unprintable> {
        let rest = &self.json[self.at..];
        let ends = |byte: &u8| {
            matches!(byte, b',' | b']' | b'}' | b':' | b'"') || byte.is_ascii_whitespace()
        };
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        if length == 0 {
            return Err(Unprintable::NoJson);
        }
        self.at += length;
        Ok(())
    }

    /// Returns the next byte that is not a space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        match self.json.get(self.at) {
            // All spaces, and characters that are not JSON outside of a string.
            Some(..=b' ') => self.skip_spaces(),
            next => next.copied(),
        }
    }

    /// Spaces are not copied.
    fn skip_spaces(&mut self) -> Option<u8> {
        self.copy();
        let rest = &self.json[self.at..];
        self.at += rest
            .iter()
            .position(|byte| !byte.is_ascii_whitespace())
            .unwrap_or(rest.len());
        self.copied = self.at;
        self.json.get(self.at).copied()
    }

    /// The comma behind a value. The last one has none in JSON, and one in the copy.
    fn comma(&mut self, end: u8) -> Result<(), Unprintable> {
        if self.peek() != Some(end) {
            return self.expect(b',');
        }
        self.copy();
        self.into.push(b',');
        Ok(())
    }

    #[inline]
    fn expect(&mut self, wanted: u8) -> Result<(), Unprintable> {
        let found = self.json.get(self.at) == Some(&wanted);
        self.at += 1;
        if found {
            Ok(())
        } else {
            Err(Unprintable::NoJson)
        }
    }

    /// Where the next byte will be in the copy.
    fn place(&self) -> usize {
        self.into.len() + self.at - self.copied
    }

    /// Copies what was read.
    fn copy(&mut self) {
        self.into
            .extend_from_slice(&self.json[self.copied..self.at]);
        self.copied = self.at;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn of(json: &str) -> Fingerprint {
        let mut hasher = Hasher::default();
        hasher.push(json.as_bytes()).unwrap();
        hasher.finish()
    }

    #[test]
    fn the_order_of_a_maps_keys_does_not_count_and_everything_else_does() {
        assert_eq!(
            of(r#"{"a":1,"b":{"c":2,"d":3}}"#),
            of(r#"{"b":{"d":3,"c":2},"a":1}"#)
        );
        for other in [
            r#"{"a":2}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":null}"#,
            r#"{"a":1,"b":1}"#,
            r#"{"b":1}"#,
        ] {
            assert_ne!(of(r#"{"a":1}"#), of(other));
        }
        assert_ne!(of("[[1],2]"), of("[[1,2]]"));
        assert_ne!(of(r#"{"a":"1,b:2"}"#), of(r#"{"a":1,"b":2}"#));
        assert_ne!(of("[]"), of("{}"));
    }

    #[test]
    fn a_null_counts_as_no_field_where_that_is_asked_for() {
        let of = |json: &str| {
            let mut hasher = Hasher::without_nulls(Vec::new());
            hasher.push(json.as_bytes()).unwrap();
            (hasher.finish(), hasher.has_dropped_nulls())
        };
        let same = [
            r#"{"a":{"b":1}}"#,
            r#"{"a":{"b":1,"c":null}}"#,
            r#"{"z" : null , "a":{ "c":null ,"b":1}}"#,
            r#"{"a":{"b":1,"c":2,"c":null}}"#,
        ];
        for (at, json) in same.iter().enumerate() {
            assert_eq!(of(json), (of(same[0]).0, at > 0), "{json}");
        }
        assert_eq!(of(same[0]).0, self::of(same[0]));
        for other in [
            r#"{"a":{"b":1},"c":[null]}"#,
            r#"{"a":{"b":1},"c":"null"}"#,
            r#"{"a":{"b":1},"c":{"d":null}}"#,
        ] {
            assert_ne!(of(other).0, of(same[0]).0, "{other}");
        }
        assert_ne!(of("[null]").0, of("[]").0);
    }

    #[test]
    fn raw_json_may_be_spaced_and_its_keys_escaped_as_they_like() {
        assert_eq!(
            of(r#"{"a":[1,{}],"b":" x "}"#),
            of("\n{ \"b\" :\t\" x \" , \"a\": [ 1 , { } ] }\r\n")
        );
        assert_eq!(
            of(r#"{"a\"":1,"z":2}"#),
            of(r#"{"\u007a":2,"\u0061\u0022":1}"#)
        );
    }

    #[test]
    fn scalars_count_as_they_are_written() {
        for (one, other) in [("1.0", "1.00"), ("1", "1e0"), (r#""a""#, r#""\u0061""#)] {
            assert_ne!(of(one), of(other));
        }
        assert_ne!(of(&u128::MAX.to_string()), of(&(u128::MAX - 1).to_string()));
    }

    #[test]
    fn of_a_key_that_is_there_twice_the_last_counts() {
        assert_eq!(of(r#"{"a":1,"b":2,"a":3}"#), of(r#"{"b":2,"a":3}"#));
        assert_eq!(of(r#"{"a":1,"a":3}"#), of(r#"{"a":3}"#));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let of = |parts: &[&str]| {
            let mut hasher = Hasher::default();
            parts
                .iter()
                .for_each(|part| hasher.push(part.as_bytes()).unwrap());
            hasher.finish()
        };
        assert_ne!(of(&["1", "23"]), of(&["12", "3"]));
        assert_ne!(of(&["1"]), of(&["1", "1"]));
    }

    #[test]
    fn nesting_without_end_is_an_error() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(
            Hasher::default().push(nested(Json::DEEPEST).as_bytes()),
            Ok(())
        );
        for depth in [Json::DEEPEST + 1, 100_000] {
            assert_eq!(
                Hasher::default().push(nested(depth).as_bytes()),
                Err(Unprintable::TooDeep)
            );
        }
    }

    /// Any JSON value, its maps small and their keys odd.
    fn value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            r#"[a-c"\\\n \{\},:é]{0,4}"#.prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map(r#"[a-b"\\\n !é]{0,2}"#, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// With the fields of each object the other way round, and each character of a key escaped.
    fn rewritten(value: &Value) -> String {
        match value {
            Value::Array(items) => format!(
                "[{}]",
                items.iter().map(rewritten).collect::<Vec<_>>().join(" , ")
            ),
            Value::Object(fields) => {
                let escaped = |key: &str| {
                    key.encode_utf16()
                        .map(|unit| format!("\\u{unit:04X}"))
                        .collect::<String>()
                };
                let fields = fields
                    .iter()
                    .rev()
                    .map(|(key, value)| format!("\"{}\":{}", escaped(key), rewritten(value)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
            scalar => scalar.to_string(),
        }
    }

    proptest! {
        #[test]
        fn equal_values_match_however_they_are_written(value in value()) {
            let compact = of(&value.to_string());
            prop_assert_eq!(compact, of(&serde_json::to_string_pretty(&value).unwrap()));
            prop_assert_eq!(compact, of(&rewritten(&value)));
        }

        #[test]
        fn values_that_differ_do_not_match(one in value(), other in value()) {
            let (one, other) = (one.to_string(), other.to_string());
            prop_assert_eq!(one == other, of(&one) == of(&other));
        }

        #[test]
        fn what_is_no_json_is_hashed_or_refused_and_does_no_harm(bytes in r#"[\[\]\{\}",:\\1a ]{0,12}"#) {
            let _ = Hasher::default().push(bytes.as_bytes());
        }
    }
}
