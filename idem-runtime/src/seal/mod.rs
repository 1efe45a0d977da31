//! Keys that seal what handlers redact, so that their dead letters can be run again.
//!
//! With [`IdemBuilder::seal`](crate::IdemBuilder::seal) the parts of a message that `redact(…)`
//! names are stored encrypted beside the payload. People, the API and exports see `[redacted]` all
//! the same; a run of the letter and a republish open them.

mod keys_text;

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
pub use keys_text::SealKeysError;
use serde_json::value::RawValue;

use crate::message::redact::parts::Part;
use crate::protocol::{RecordId, Sealed};

/// What is sealed is of this kind and no other.
const DOMAIN: &str = "idem: redacted parts of a message, 1";

/// The keys that seal the redacted parts of messages: the current one, and older ones for reading.
///
/// A key has 32 random bytes and an id, which is stored in plain with each letter. Give a new key a
/// new id, and keep the old one as an [`older`](Self::older) key for as long as letters of it are
/// open. Anyone with a key and the ledger can read what is sealed, so keep them apart.
///
/// The text of an environment variable or a file is read by `parse`: the current key first, then
/// older ones, each as `id:base64`, with white space between them.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let text = "2026-11:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY= 2025-03:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
/// use idem_runtime::{Idem, SealKeys};
///
/// // `openssl rand -base64 32` makes a key.
/// let keys: SealKeys = text.parse()?; // as std::env::var("ORDERS_SEAL_KEYS")? returns it
/// let idem = Idem::builder().seal(keys).open(folder.path())?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SealKeys {
    /// The first is the current one.
    keys: Vec<SealKey>,
}

#[derive(Clone)]
struct SealKey {
    id: String,
    /// It clears its key when it is dropped.
    cipher: XChaCha20Poly1305,
}

/// Why sealed parts cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// No key has the id.
    NoKey,
    /// The keys of the id do not open it.
    Refused,
}

impl SealKeys {
    /// Returns keys of which this one is current. The id is stored in plain, such as `2026-11`.
    pub fn new(id: impl Into<String>, key: &[u8; 32]) -> Self {
        Self {
            keys: vec![SealKey::new(id.into(), key)],
        }
    }

    /// Adds an older key, with which letters are still opened.
    #[must_use]
    pub fn older(mut self, id: impl Into<String>, key: &[u8; 32]) -> Self {
        self.keys.push(SealKey::new(id.into(), key));
        self
    }

    /// Returns whether there is a key with this id.
    pub fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// Seals parts of a message with the current key. They open for the record of `id` only.
    /// Returns `None` for no parts.
    pub(crate) fn seal(&self, id: &RecordId, parts: Vec<Part>) -> Option<Sealed> {
        let current = self.keys.first().filter(|_| !parts.is_empty())?;
        // The values are JSON, and so is their list.
        let values: Vec<_> = parts.iter().map(|part| part.value.as_str()).collect();
        let values = format!("[{}]", values.join(","));
        let places: Vec<_> = parts.into_iter().map(|part| part.place).collect();
        let context = context(id, &current.id, &places);
        let content = random().and_then(|nonce| {
            let payload = Payload {
                msg: values.as_bytes(),
                aad: &context,
            };
            let sealed = current.cipher.encrypt(&nonce, payload);
            let sealed = sealed.map_err(|_| "they are too large".to_owned())?;
            Ok([&nonce[..], &sealed].concat())
        });
        match content {
            Ok(content) => Some(Sealed::new(current.id.clone(), places, content)),
            Err(problem) => {
                let RecordId { handler, key } = id;
                tracing::error!(
                    handler = &**handler,
                    key = &**key,
                    problem,
                    "the redacted parts could not be sealed, so they are not stored"
                );
                None
            }
        }
    }

    /// Opens the sealed parts of a record.
    pub(crate) fn open(&self, id: &RecordId, sealed: &Sealed) -> Result<Vec<Part>, Unopened> {
        if !self.has(&sealed.key) {
            return Err(Unopened::NoKey);
        }
        let (nonce, msg) = sealed.content().split_at_checked(24).unwrap_or_default();
        let nonce = XNonce::try_from(nonce).map_err(|_| Unopened::Refused)?;
        let context = context(id, &sealed.key, &sealed.places);
        let payload = || Payload { msg, aad: &context };
        let keys = self.keys.iter().filter(|key| key.id == sealed.key);
        let values = keys
            .filter_map(|key| key.cipher.decrypt(&nonce, payload()).ok())
            .next()
            .ok_or(Unopened::Refused)?;
        let values: Vec<Box<RawValue>> =
            serde_json::from_slice(&values).map_err(|_| Unopened::Refused)?;
        let part = |(place, value): (&String, Box<RawValue>)| Part {
            place: place.clone(),
            value: value.get().to_owned(),
        };
        Ok(sealed.places.iter().zip(values).map(part).collect())
    }
}

impl SealKey {
    fn new(id: String, key: &[u8; 32]) -> Self {
        let cipher = XChaCha20Poly1305::new(<&Key>::from(key));
        Self { id, cipher }
    }
}

fn random() -> Result<XNonce, String> {
    let mut nonce = XNonce::default();
    getrandom::fill(&mut nonce).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(nonce)
}

/// What the sealed values belong to. Each text has its length before it, so that no two lists are
/// one.
fn context(id: &RecordId, key: &str, places: &[String]) -> Vec<u8> {
    let texts = [DOMAIN, &id.handler, &id.key, key].into_iter();
    let mut context = Vec::new();
    for text in texts.chain(places.iter().map(String::as_str)) {
        context.extend_from_slice(&(text.len() as u64).to_be_bytes());
        context.extend_from_slice(text.as_bytes());
    }
    context
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| &key.id);
        f.debug_list().entries(ids).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Part> {
        let part = |place: &str, value: &str| Part {
            place: place.into(),
            value: value.into(),
        };
        vec![part("/card", "\"4111\""), part("/n", "1.50")]
    }

    #[test]
    fn what_is_sealed_opens_for_its_record_and_its_key_alone() {
        let (ours, theirs) = (
            RecordId::new("orders.place", "A-1"),
            RecordId::new("orders.place", "A-2"),
        );
        let keys = SealKeys::new("new", &[1; 32]).older("old", &[2; 32]);
        let sealed = keys.seal(&ours, parts()).unwrap();
        assert_eq!(
            (&*sealed.key, &sealed.places[..]),
            ("new", &["/card".to_owned(), "/n".to_owned()][..])
        );
        assert!(keys.open(&ours, &sealed).unwrap() == parts());
        assert!(keys.open(&theirs, &sealed) == Err(Unopened::Refused));
        let mut moved = sealed.clone();
        moved.places.swap(0, 1);
        assert!(keys.open(&ours, &moved) == Err(Unopened::Refused));
        let other = SealKeys::new("new", &[3; 32]);
        assert!(other.open(&ours, &sealed) == Err(Unopened::Refused));
        let lost = SealKeys::new("newer", &[1; 32]);
        assert!(lost.open(&ours, &sealed) == Err(Unopened::NoKey));
        let rotated = SealKeys::new("newer", &[4; 32]).older("new", &[1; 32]);
        assert!(rotated.open(&ours, &sealed).unwrap() == parts());
    }

    #[test]
    fn the_same_parts_are_never_sealed_alike() {
        let (id, keys) = (RecordId::new("h", "k"), SealKeys::new("a", &[1; 32]));
        let [first, second] = [(); 2].map(|()| keys.seal(&id, parts()).unwrap());
        assert_ne!(first, second);
        assert!(keys.seal(&id, Vec::new()).is_none());
    }

    #[test]
    fn keys_show_their_ids_alone() {
        let keys = SealKeys::new("new", &[65; 32]).older("old", &[66; 32]);
        assert_eq!(format!("{keys:?}"), r#"["new", "old"]"#);
    }
}
