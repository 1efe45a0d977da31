//! The groups that a page's message speaks of: the journal's entries are found in it without sled.

use super::super::journal::{Entry, RING};
use super::super::layout::journal_key;
use super::format::{Bytes, Kind};
use crate::protocol::encoding::decode;

/// The newest group of which a page's message has an entry of the journal.
pub(super) fn newest(kind: Kind, body: &[u8]) -> Option<u64> {
    match kind {
        Kind::Free => None,
        Kind::Link => set(body).and_then(|(key, value)| group(key, value)),
        Kind::Page => leaf(body)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(key, value)| group(key, value))
            .max(),
    }
}

/// A key and its value, as one message sets it.
fn set(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = Bytes(body);
    let is_set = rest.u8()? == 0;
    is_set.then_some((rest.bytes()?, rest.bytes()?))
}

/// The keys of a leaf, each without what all of the leaf's begin with, and their values.
fn leaf(body: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut rest = Bytes(body);
    let (_next, _merging_child) = (rest.u64()?, rest.u64()?);
    let (_merging, _prefix) = (rest.u8()?, rest.u8()?);
    let (_low, _high) = (rest.bytes()?, rest.bytes()?);
    if rest.u8()? != 0 {
        return None;
    }
    let count = rest.u64()?;
    let mut all = |count| (0..count).map(|_| rest.bytes()).collect::<Option<Vec<_>>>();
    let (keys, values) = (all(count)?, all(count)?);
    Some(keys.into_iter().zip(values).collect())
}

/// The group of an entry of the journal, if this is one: the key has to be its place in the ring.
fn group(key: &[u8], value: &[u8]) -> Option<u64> {
    // Other keys are longer, or end in another place of the ring.
    if key.len() > journal_key(0).len()
        || key
            .iter()
            .rev()
            .skip(2)
            .any(|byte| !matches!(byte, 0 | b'j'))
    {
        return None;
    }
    let entry: Entry = decode(value).ok()?;
    journal_key(entry.number % RING)
        .ends_with(key)
        .then_some(entry.group)
}
