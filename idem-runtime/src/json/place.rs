//! Finds where reading a type stops: the names of the type's fields on the way there. A map's key
//! is data, and is shown as `*`.

use std::cell::RefCell;
use std::iter::Enumerate;
use std::{fmt, slice};

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// Returns the place of an error by reading the same text again as a value.
pub(super) fn of_problem<T: DeserializeOwned>(
    json: &[u8],
    is_same: impl FnOnce(&Error) -> bool,
) -> Option<String> {
    let value = serde_json::from_slice(json).ok()?;
    let stopped = RefCell::new(None);
    let error = T::deserialize(At {
        value: &value,
        place: &Place::Top,
        stopped: &stopped,
    })
    .err()?;
    // A value is not all that the text was: what stops elsewhere has another place.
    let same = is_same(&error);
    stopped
        .into_inner()
        .filter(|place| same && !place.is_empty())
}

/// The way to a value.
enum Place<'p> {
    Top,
    /// A field of the type's.
    Field(&'p Place<'p>, &'static str),
    /// What is under a map's key.
    Entry(&'p Place<'p>),
    Element(&'p Place<'p>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, name) = match self {
            Place::Top => return Ok(()),
            Place::Element(before, index) => return write!(f, "{before}[{index}]"),
            Place::Field(before, name) => (before, *name),
            Place::Entry(before) => (before, "*"),
        };
        let dot = if matches!(before, Place::Top) {
            ""
        } else {
            "."
        };
        write!(f, "{before}{dot}{name}")
    }
}

/// A value at its place.
#[derive(Clone, Copy)]
struct At<'de, 'p> {
    value: &'de Value,
    place: &'p Place<'p>,
    /// The innermost place that could not be read.
    stopped: &'p RefCell<Option<String>>,
}

impl<'de> At<'de, '_> {
    /// Reads what is further in, and remembers where it stops.
    fn read<S: DeserializeSeed<'de>>(
        self,
        value: &'de Value,
        place: &Place<'_>,
        seed: S,
    ) -> Result<S::Value, Error> {
        let read = seed.deserialize(At {
            value,
            place,
            stopped: self.stopped,
        });
        read.inspect_err(|_| {
            self.stopped
                .borrow_mut()
                .get_or_insert_with(|| place.to_string());
        })
    }
}

impl<'de> Deserializer<'de> for At<'de, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Inside {
                at: self,
                items: items.iter().enumerate(),
            }),
            Value::Object(_) => self.deserialize_struct("", &[], visitor),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(entries) => visitor.visit_map(Fields {
                at: self,
                fields,
                entries: entries.iter(),
                value: None,
            }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        // What stays text is serde_json's own.
        if name.starts_with("$serde_json::") {
            return self.value.deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.value.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// An array's elements.
struct Inside<'de, 'p> {
    at: At<'de, 'p>,
    items: Enumerate<slice::Iter<'de, Value>>,
}

impl<'de> SeqAccess<'de> for Inside<'de, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some((index, value)) = self.items.next() else {
            return Ok(None);
        };
        self.at
            .read(value, &Place::Element(self.at.place, index), seed)
            .map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// An object's fields.
struct Fields<'de, 'p> {
    at: At<'de, 'p>,
    /// Those of the type; none of a map.
    fields: &'static [&'static str],
    entries: serde_json::map::Iter<'de>,
    value: Option<(&'de str, &'de Value)>,
}

impl<'de> MapAccess<'de> for Fields<'de, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some((name, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((name, value));
        seed.deserialize(BorrowedStrDeserializer::new(name))
            .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (name, value) = self
            .value
            .take()
            .ok_or_else(|| Error::custom("a value before its key"))?;
        let before = self.at.place;
        let place = match self.fields.iter().find(|field| **field == name) {
            Some(field) => Place::Field(before, field),
            None => Place::Entry(before),
        };
        self.at.read(value, &place, seed)
    }
}
