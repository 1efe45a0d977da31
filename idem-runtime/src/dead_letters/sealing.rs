//! The sealed parts of letters: opened for a run and a republish, and kept through edits.

use super::{DeadLetters, LetterError};
use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::json::Json;
use crate::message::redact::REDACTED;
use crate::message::redact::parts::Part;
use crate::protocol::{DeadLetter, RecordId, Sealed};
use crate::seal::Unopened;

impl Idem {
    /// Returns whether the payload of the letter needs no sealed parts, or this Idem has a
    /// [key](crate::SealKeys) with their key's id.
    pub fn can_open(&self, letter: &DeadLetter) -> bool {
        let keys = self.shared().seal.as_ref();
        let has = |sealed: &Sealed| keys.is_some_and(|keys| keys.has(&sealed.key));
        letter.sealed.as_ref().is_none_or(has) || !letter.payload.as_str().contains(REDACTED)
    }
}

impl DeadLetters {
    /// Returns a payload of the letter with its sealed parts filled in. No key is needed where
    /// nothing is left to fill in.
    pub(super) fn opened(&self, letter: &DeadLetter, payload: Json) -> Result<Json, LetterError> {
        let Some(sealed) = letter
            .sealed
            .as_ref()
            .filter(|_| payload.as_str().contains(REDACTED))
        else {
            return Ok(payload);
        };
        let parts = open(self.shared(), letter, sealed)?;
        Ok(letter.filled_in(&payload, take_from(parts)))
    }

    /// Returns the sealed parts of an edited letter: of what was given the parts that are redacted,
    /// and those of before where the placeholder was given.
    pub(super) fn resealed(
        &self,
        letter: &DeadLetter,
        given: &Json,
        redacted: &Json,
    ) -> Result<Option<Sealed>, LetterError> {
        let mut parts = letter.hidden_in(given, redacted);
        if parts.is_empty() {
            return Ok(letter.sealed.clone());
        }
        let shared = self.shared();
        if let Some(sealed) = &letter.sealed {
            let mut kept = Vec::new();
            letter.filled_in(given, |place| {
                kept.extend(sealed.has(place).then(|| place.to_owned()));
                None
            });
            if !kept.is_empty() {
                let before = open(shared, letter, sealed)?;
                parts.extend(before.into_iter().filter(|part| kept.contains(&part.place)));
            }
        }
        let keys = shared.seal.as_ref();
        Ok(keys.and_then(|keys| keys.seal(&letter.record_id(), parts)))
    }
}

/// Opens the sealed parts of a letter.
fn open(shared: &Shared, letter: &DeadLetter, sealed: &Sealed) -> Result<Vec<Part>, LetterError> {
    let failed = |unopened| LetterError::Sealed {
        id: letter.id,
        handler: letter.handler.clone(),
        key: letter.key.clone(),
        seal_key: sealed.key.clone(),
        known: unopened == Unopened::Refused,
    };
    let keys = shared.seal.as_ref().ok_or(failed(Unopened::NoKey))?;
    let record = letter.record_id();
    keys.open(&record, sealed).or_else(|unopened| {
        // It was sealed in a call by another name of the handler.
        let names = shared.earlier.all(&letter.handler);
        let other = |name: &String| {
            let id = RecordId::new(name.as_str(), record.key.clone());
            keys.open(&id, sealed).ok()
        };
        names.iter().find_map(other).ok_or(failed(unopened))
    })
}

/// Returns the value of each place once, in order: the fields of a repeated name have one place.
fn take_from(parts: Vec<Part>) -> impl FnMut(&str) -> Option<String> {
    let mut parts: std::collections::VecDeque<_> = parts.into();
    move |place| {
        let at = parts.iter().position(|part| part.place == place)?;
        Some(parts.remove(at)?.value)
    }
}
