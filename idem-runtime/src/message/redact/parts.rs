//! The parts of a payload that were redacted: found where its text differs from what is shown, and
//! filled in again at the same places.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::REDACTED;

/// A redacted part of a payload.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its place: `/name` for each field on the way, `#index:length` for each element, so that an
    /// array that got another length has other places.
    pub(crate) place: String,
    /// Its value, as JSON.
    pub(crate) value: String,
}

/// Returns what stands in the original where the shown text has the placeholder, in the order of
/// the text. `at` is the place of the whole.
///
/// # Errors
/// When one of them is not JSON.
pub(crate) fn hidden(original: &str, shown: &str, at: &str) -> serde_json::Result<Vec<Part>> {
    let (mut parts, mut place) = (Vec::new(), at.to_owned());
    collect(original.trim(), shown.trim(), &mut place, &mut parts)?;
    Ok(parts)
}

/// Returns the text with values in the places that have the placeholder, where `value` has one.
///
/// # Errors
/// When the text is not JSON.
pub(crate) fn filled_in(
    shown: &str,
    at: &str,
    mut value: impl FnMut(&str) -> Option<String>,
) -> serde_json::Result<String> {
    let (mut into, mut place) = (String::with_capacity(shown.len()), at.to_owned());
    fill(&mut into, shown.trim(), &mut place, &mut value)?;
    Ok(into)
}

fn collect(
    original: &str,
    shown: &str,
    place: &mut String,
    parts: &mut Vec<Part>,
) -> serde_json::Result<()> {
    if original == shown {
        return Ok(());
    }
    if stands_in(shown) && !stands_in(original) {
        parts.push(Part {
            place: place.clone(),
            value: original.to_owned(),
        });
        return Ok(());
    }
    let (original, shown) = (Node::read(original)?, Node::read(shown)?);
    original.zip(shown, place, |original, shown, place| {
        collect(original, shown, place, parts)
    })
}

fn fill(
    into: &mut String,
    shown: &str,
    place: &mut String,
    value: &mut dyn FnMut(&str) -> Option<String>,
) -> serde_json::Result<()> {
    if !shown.contains(REDACTED) {
        into.push_str(shown);
        return Ok(());
    }
    let node = match Node::read(shown)? {
        Node::Leaf if stands_in(shown) => {
            match value(place) {
                Some(value) => into.push_str(&value),
                None => into.push_str(shown),
            }
            return Ok(());
        }
        Node::Leaf => {
            into.push_str(shown);
            return Ok(());
        }
        node => node,
    };
    let (open, close) = node.brackets();
    into.push(open);
    let mut first = true;
    node.each(place, |name, inner, place| {
        if !std::mem::take(&mut first) {
            into.push(',');
        }
        if let Some(name) = name {
            into.push_str(&serde_json::to_string(name)?);
            into.push(':');
        }
        fill(into, inner, place, value)
    })?;
    into.push(close);
    Ok(())
}

/// Whether a JSON text is the placeholder.
fn stands_in(text: &str) -> bool {
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        == Some(REDACTED)
}

/// A value, one level deep.
enum Node<'t> {
    Leaf,
    Object(Fields<'t>),
    Array(Vec<&'t RawValue>),
}

impl<'t> Node<'t> {
    fn read(text: &'t str) -> serde_json::Result<Self> {
        Ok(match text.as_bytes().first() {
            Some(b'{') => Self::Object(serde_json::from_str(text)?),
            Some(b'[') => Self::Array(serde_json::from_str(text)?),
            _ => Self::Leaf,
        })
    }

    fn brackets(&self) -> (char, char) {
        match self {
            Self::Array(_) => ('[', ']'),
            Self::Object(_) | Self::Leaf => ('{', '}'),
        }
    }

    /// Visits each value inside, with its field's name and its place.
    fn each(
        &self,
        place: &mut String,
        mut visit: impl FnMut(Option<&str>, &'t str, &mut String) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        let length = place.len();
        match self {
            Self::Leaf => {}
            Self::Object(Fields(fields)) => {
                for (name, value) in fields {
                    push_field(place, name);
                    visit(Some(name), value.get(), place)?;
                    place.truncate(length);
                }
            }
            Self::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    place.push_str(&format!("#{index}:{}", items.len()));
                    visit(None, item.get(), place)?;
                    place.truncate(length);
                }
            }
        }
        Ok(())
    }

    /// Visits each value inside with the one at the same position in a value of the same shape.
    fn zip(
        &self,
        other: Node<'t>,
        place: &mut String,
        mut visit: impl FnMut(&'t str, &'t str, &mut String) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        let mut others = match other {
            Node::Leaf => Vec::new(),
            Node::Object(Fields(fields)) => fields.into_iter().map(|(_, value)| value).collect(),
            Node::Array(items) => items,
        }
        .into_iter();
        self.each(place, |_, inner, place| match others.next() {
            Some(other) => visit(inner, other.get(), place),
            None => Ok(()),
        })
    }
}

/// Adds a field's name to a place. Its own `/` and `#` are escaped.
pub(crate) fn push_field(place: &mut String, name: &str) {
    place.push('/');
    for char in name.chars() {
        match char {
            '~' => place.push_str("~0"),
            '/' => place.push_str("~1"),
            '#' => place.push_str("~2"),
            char => place.push(char),
        }
    }
}

/// An object's fields in the order of its text, repeated ones too.
struct Fields<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        json.deserialize_map(InOrder).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::redact;
    use super::super::tests::value;
    use super::*;

    #[track_caller]
    fn parts(original: &str, paths: &[&str]) -> (String, Vec<(String, String)>) {
        let shown = String::from_utf8(redact(original.as_bytes(), paths).unwrap()).unwrap();
        let parts = hidden(original, &shown, "").unwrap();
        let parts = parts.into_iter().map(|part| (part.place, part.value));
        (shown, parts.collect())
    }

    #[test]
    fn a_place_names_each_field_and_element_on_the_way() {
        let order = r#"{"card":"4111","lines":[{"voucher":1.50},{"voucher":null},{"voucher":{"a":1}}],"a/b#~":2}"#;
        let (_, parts) = parts(order, &["card", "lines.voucher", "a/b#~"]);
        let parts: Vec<_> = parts.iter().map(|(p, v)| (&**p, &**v)).collect();
        assert_eq!(
            parts,
            [
                ("/card", "\"4111\""),
                ("/lines#0:3/voucher", "1.50"),
                ("/lines#2:3/voucher", "{\"a\":1}"),
                ("/a~1b~2~0", "2"),
            ]
        );
    }

    #[test]
    fn an_array_of_another_length_has_other_places() {
        let (_, kept) = parts(r#"{"l":[{"v":1},{"v":2}]}"#, &["l.v"]);
        let find = |place: &str| {
            let found = kept.iter().find(|(at, _)| at == place);
            found.map(|(_, value)| value.clone())
        };
        let same = filled_in(r#"{"l":[{"v":"[redacted]"},{"v":3}]}"#, "", find).unwrap();
        assert_eq!(same, r#"{"l":[{"v":1},{"v":3}]}"#);
        let shorter = r#"{"l":[{"v":"[redacted]"}]}"#;
        assert_eq!(filled_in(shorter, "", find).unwrap(), shorter);
    }

    proptest! {
        #[test]
        fn what_was_hidden_is_filled_in_again(
            value in value(),
            paths in prop::sample::subsequence(vec!["a", "b.a", "b.c", "c.a.b", "c.b"], 0..5),
        ) {
            let original = value.to_string();
            let (shown, parts) = parts(&original, &paths);
            let filled = filled_in(&shown, "", |place| {
                parts.iter().find(|(at, _)| at == place).map(|(_, value)| value.clone())
            });
            prop_assert_eq!(filled.unwrap(), original);
        }
    }
}
