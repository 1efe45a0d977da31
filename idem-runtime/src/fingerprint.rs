//! What must match for a key to be used again: a hash over canonical JSON.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::protocol::Fingerprint;

/// A fingerprint that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// Adds one JSON text, with the keys of its objects sorted, so that a map's order does not count.
    pub(crate) fn push(&mut self, json: &[u8]) -> serde_json::Result<()> {
        self.value(&serde_json::from_slice(json)?);
        Ok(())
    }

    pub(crate) fn finish(self) -> Fingerprint {
        let mut short = [0; 16];
        short.copy_from_slice(&self.0.finalize()[..16]);
        Fingerprint(short)
    }

    /// A kind, a length and the content each: no two values hash the same bytes.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.part(b'n', &[]),
            Value::Bool(bool) => self.part(b'b', &[u8::from(*bool)]),
            Value::Number(number) => self.part(b'd', number.to_string().as_bytes()),
            Value::String(text) => self.part(b's', text.as_bytes()),
            Value::Array(items) => {
                self.part(b'a', &items.len().to_be_bytes());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Object(fields) => {
                self.part(b'o', &fields.len().to_be_bytes());
                let mut fields: Vec<_> = fields.iter().collect();
                // serde_json's feature `preserve_order`, which any crate can turn on, keeps them unsorted.
                fields.sort_unstable_by_key(|(name, _)| *name);
                for (name, value) in fields {
                    self.part(b'k', name.as_bytes());
                    self.value(value);
                }
            }
        }
    }

    fn part(&mut self, kind: u8, content: &[u8]) {
        self.0.update([kind]);
        self.0.update((content.len() as u64).to_be_bytes());
        self.0.update(content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Fingerprint {
        let mut hasher = Hasher::default();
        hasher.push(json.as_bytes()).unwrap();
        hasher.finish()
    }

    #[test]
    fn the_order_of_a_maps_keys_does_not_count_and_everything_else_does() {
        assert_eq!(of(r#"{"a":1,"b":{"c":2,"d":3}}"#), of(r#"{"b":{"d":3,"c":2},"a":1}"#));
        for other in [r#"{"a":2}"#, r#"{"a":"1"}"#, r#"{"a":[1]}"#, r#"{"a":null}"#, r#"{"a":1,"b":1}"#, r#"{"b":1}"#] {
            assert_ne!(of(r#"{"a":1}"#), of(other));
        }
        assert_ne!(of("[[1],2]"), of("[[1,2]]"));
    }
}
