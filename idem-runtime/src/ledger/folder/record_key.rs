//! The address of a record among the keys of an engine.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::protocol::RecordId;

/// Longer names and keys are hashed. sled puts tree nodes past 128 KiB into files that it never
/// syncs, and an index node holds up to 256 keys.
const LONGEST_PLAIN: usize = 200;

/// The address of a record within its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::ledger) struct RecordKey(Arc<[u8]>);

impl RecordKey {
    pub(in crate::ledger) fn new(id: &RecordId) -> Self {
        let (handler, key) = (id.handler.as_bytes(), id.key.as_bytes());
        match u8::try_from(handler.len()) {
            Ok(length) if length > 0 && handler.len() + key.len() <= LONGEST_PLAIN => {
                let (mut record_key, key_at) = ([length; 1 + LONGEST_PLAIN], 1 + handler.len());
                record_key[1..key_at].copy_from_slice(handler);
                record_key[key_at..key_at + key.len()].copy_from_slice(key);
                Self(record_key[..key_at + key.len()].into())
            }
            _ => {
                let mut hash = Sha256::new();
                hash.update((handler.len() as u64).to_be_bytes());
                hash.update(handler);
                hash.update(key);
                let mut record_key = vec![0];
                record_key.extend_from_slice(&hash.finalize());
                Self(record_key.into())
            }
        }
    }

    /// Returns the address that stands in a key.
    pub(in crate::ledger) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// Returns the id, unless it was too long to stand here.
    pub(in crate::ledger) fn id(&self) -> Option<RecordId> {
        let (length, names) = self.0.split_first().filter(|(length, _)| **length > 0)?;
        let (handler, key) = names.split_at_checked(usize::from(*length))?;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        Some(RecordId::new(text(handler)?, text(key)?))
    }

    pub(in crate::ledger) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(in crate::ledger) fn in_kind(&self, kind: u8) -> Vec<u8> {
        [&[kind], &*self.0].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(handler: &str, key: &str) -> RecordId {
        RecordId::new(handler, key)
    }

    #[test]
    fn handler_and_key_cannot_run_into_each_other() {
        assert_ne!(
            RecordKey::new(&id("ab", "c")),
            RecordKey::new(&id("a", "bc"))
        );
        let (long, longer) = ("x".repeat(300), "x".repeat(301));
        assert_ne!(
            RecordKey::new(&id(&long, &longer)),
            RecordKey::new(&id(&longer, &long))
        );
        assert_eq!(RecordKey::new(&id(&long, &longer)).bytes().len(), 33);
    }

    #[test]
    fn an_id_is_read_back_unless_it_was_hashed() {
        for (handler, key) in [("orders.place", "A-1"), ("a", ""), ("größe", "\0\u{1F4A9}")] {
            assert_eq!(
                RecordKey::new(&id(handler, key)).id(),
                Some(id(handler, key))
            );
        }
        assert_eq!(RecordKey::new(&id("a", &"x".repeat(200))).id(), None);
        assert_eq!(RecordKey::new(&id("", "key")).id(), None);
    }
}
