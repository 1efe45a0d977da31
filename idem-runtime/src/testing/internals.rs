//! What the checks of arbitrary input reach of the inside. It may change with every release.

use std::fmt::Display;

use minicbor::{Decode, Encode};

use crate::ledger::LedgerError;
use crate::ledger::sled::Entry;
use crate::message::fingerprint;
use crate::message::key;
use crate::protocol::Fingerprint;
use crate::protocol::encoding;

/// Returns the idempotency key of these parts.
///
/// # Errors
/// When they do not make a key, in the words of `Error::InvalidKey`.
pub fn key(parts: &[&dyn Display]) -> Result<String, String> {
    let mut key = key::Key::default();
    for part in parts {
        key.push(*part);
    }
    Ok(key.finish()?.to_string())
}

/// The fingerprint of these JSON texts.
///
/// # Errors
/// When one of them is not JSON, in words.
pub fn fingerprint(texts: &[&[u8]]) -> Result<Fingerprint, String> {
    let mut hasher = fingerprint::Hasher::default();
    texts
        .iter()
        .try_for_each(|text| hasher.push(text))
        .map_err(|error| error.to_string())?;
    Ok(hasher.finish())
}

/// A value in its envelope.
///
/// # Errors
/// When the value cannot be written.
pub fn encode<T: Encode<()>>(value: &T) -> Result<Vec<u8>, LedgerError> {
    encoding::encode(value)
}

/// The value in an envelope.
///
/// # Errors
/// When it is damaged, or of a version that this one does not know.
pub fn decode<T: for<'b> Decode<'b, ()>>(envelope: &[u8]) -> Result<T, LedgerError> {
    encoding::decode(envelope)
}

/// An entry of the embedded ledger's journal, with the ledger's numbers in it, read from their
/// envelope and put into one again.
///
/// # Errors
/// When they cannot be read.
pub fn again(envelope: &[u8]) -> Result<Vec<u8>, LedgerError> {
    encoding::encode(&encoding::decode::<Entry>(envelope)?)
}
