//! The redacted parts of a message, sealed with a key of its service, and how a letter's payload
//! is filled in with them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use minicbor::{Decode, Encode};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::letter::DeadLetter;
use crate::json::Json;
use crate::message::redact::is_summary;
use crate::message::redact::parts::{Part, filled_in, hidden, push_field};

/// The redacted parts of a message, sealed with a [key](crate::SealKeys) that its service had. Its
/// JSON leaves out the sealed values.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[non_exhaustive]
pub struct Sealed {
    /// The id of the key.
    #[n(0)]
    pub key: String,
    /// The places of the parts in the payload: `/name` for a field, `#index:length` for an element.
    #[n(1)]
    pub places: Vec<String>,
    /// A nonce, and the encrypted values.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(skip)]
    content: Vec<u8>,
}

impl Sealed {
    /// Returns sealed parts with these places.
    pub(crate) fn new(key: String, places: Vec<String>, content: Vec<u8>) -> Self {
        Self {
            key,
            places,
            content,
        }
    }

    /// Returns whether the part in this place is sealed.
    pub(crate) fn has(&self, place: &str) -> bool {
        self.places.iter().any(|sealed| sealed == place)
    }

    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    /// Returns about how many bytes a ledger writes for it.
    pub(crate) fn weight(&self) -> usize {
        let places: usize = self.places.iter().map(String::len).sum();
        places + self.key.len() + self.content.len()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("key", &self.key)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl DeadLetter {
    /// Returns a payload of this letter with values in the places that have the placeholder, where
    /// `value` has one. A payload that cannot be read stays as it is.
    pub(crate) fn filled_in(
        &self,
        payload: &Json,
        mut value: impl FnMut(&str) -> Option<String>,
    ) -> Json {
        if self.is_buried() && is_summary(payload) {
            let whole = value("").and_then(|whole| serde_json::from_str(&whole).ok());
            return whole.unwrap_or_else(|| payload.clone());
        }
        let (text, quoted) = self.text_of(payload);
        let Ok(filled) = filled_in(&text, &self.place_of(payload), value) else {
            return payload.clone();
        };
        if quoted {
            return filled.as_str().into();
        }
        serde_json::from_str(&filled).unwrap_or_else(|_| payload.clone())
    }

    /// Returns what stands in a payload that a person gave where its redacted text has the
    /// placeholder.
    pub(crate) fn hidden_in(&self, given: &Json, redacted: &Json) -> Vec<Part> {
        if self.is_buried() && is_summary(redacted) {
            let whole = (!is_summary(given)).then(|| Part {
                place: String::new(),
                value: given.as_str().to_owned(),
            });
            return whole.into_iter().collect();
        }
        let ((given, _), (shown, _)) = (self.text_of(given), self.text_of(redacted));
        hidden(&given, &shown, &self.place_of(redacted)).unwrap_or_default()
    }

    /// Returns the text in which parts are redacted, and whether the payload is that text quoted: a
    /// buried message as it came.
    fn text_of<'a>(&self, payload: &'a Json) -> (Cow<'a, str>, bool) {
        match payload.parse::<String>() {
            Ok(text) if self.is_buried() => (text.into(), true),
            _ => (payload.as_str().into(), false),
        }
    }

    /// Returns the place of a payload: an only argument may be given without its name.
    fn place_of(&self, payload: &Json) -> String {
        let mut place = String::new();
        let argument = || self.redacted.first()?.split('.').next();
        if !self.is_buried()
            && self.arguments() == 1
            && !payload
                .parse::<HashMap<String, IgnoredAny>>()
                .is_ok_and(|fields| fields.len() == 1)
            && let Some(argument) = argument()
        {
            push_field(&mut place, argument);
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::protocol::encoding::{decode, encode};
    use crate::protocol::{Budget, Live, RecordId};

    #[test]
    fn a_record_is_stored_with_it_and_one_without_it_as_before() {
        let budget = Budget::new(0, Duration::from_secs(60));
        let id = RecordId::new("h", "k");
        let mut live = Live::new(&id, b"{}".as_slice().into(), budget, Timestamp::UNIX_EPOCH);
        let without = encode(&live).unwrap();
        assert_eq!(decode::<Live>(&without).unwrap(), live);
        live.sealed = Some(Arc::new(Sealed::new(
            "2026-11".into(),
            vec!["/card".into()],
            vec![7; 40],
        )));
        let with = encode(&live).unwrap();
        assert_eq!(decode::<Live>(&with).unwrap(), live);
        // The list of the fields is longer, and each of them stands where it stood.
        assert!(with.len() > without.len() + 40);
    }

    #[test]
    fn its_json_and_its_debug_text_leave_out_the_values() {
        let sealed = Sealed::new("2026-11".into(), vec!["/card".into()], vec![7; 40]);
        let json = serde_json::to_string(&sealed).unwrap();
        assert_eq!(json, r#"{"key":"2026-11","places":["/card"]}"#);
        assert!(!format!("{sealed:?}").contains("7, 7"));
    }
}
