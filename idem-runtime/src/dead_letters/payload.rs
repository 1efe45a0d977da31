//! The payload of a letter, as its handler takes it.

use std::collections::HashMap;
use std::fmt::Display;

use serde_json::value::RawValue;

use super::LetterError;
use crate::json::Json;
use crate::protocol::DeadLetter;

/// Returns the payload as a handler takes it: the value of an only argument. A message that no
/// handler could take stays whole.
pub(super) fn argument<'a>(letter: &DeadLetter, payload: &'a Json) -> &'a str {
    let only = || only_field(payload).filter(|_| letter.arguments() == 1);
    if letter.is_buried() { None } else { only() }.unwrap_or(payload.as_str())
}

pub(super) fn only_field(payload: &Json) -> Option<&str> {
    let fields: HashMap<String, &RawValue> = payload.parse().ok()?;
    let mut values = fields.into_values();
    values
        .next()
        .filter(|_| values.len() == 0)
        .map(RawValue::get)
}

/// Returns the error of a payload that does not fit the handler.
pub(super) fn unfit(letter: &DeadLetter, problem: impl Display) -> LetterError {
    LetterError::PayloadUnfit {
        id: letter.id,
        handler: letter.handler.clone(),
        problem: problem.to_string(),
    }
}
