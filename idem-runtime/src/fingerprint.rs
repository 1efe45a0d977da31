//! What must match for a key to be used again: a hash over canonical JSON.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::protocol::Fingerprint;

/// As deep as serde_json itself reads.
const DEEPEST: usize = 127;

/// A fingerprint that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Hasher {
    canonical: String,
}

impl Hasher {
    /// Adds one JSON text, with the keys of its objects sorted, so that a map's order does not count.
    pub(crate) fn push(&mut self, json: &[u8]) -> serde_json::Result<()> {
        write(serde_json::from_slice(json)?, DEEPEST, &mut self.canonical)?;
        self.canonical.push('\n');
        Ok(())
    }

    pub(crate) fn finish(self) -> Fingerprint {
        let mut short = [0; 16];
        short.copy_from_slice(&Sha256::digest(self.canonical)[..16]);
        Fingerprint(short)
    }
}

/// Numbers and strings stay as they are written: read as numbers, those of 128 bits would lose their last digits.
fn write(value: &RawValue, depth: usize, into: &mut String) -> serde_json::Result<()> {
    let Some(deeper) = depth.checked_sub(1) else {
        return Err(serde::de::Error::custom("it is nested too deeply"));
    };
    match value.get().as_bytes().first() {
        Some(b'{') => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(value.get())?;
            into.push('{');
            for (name, value) in fields {
                into.push_str(&serde_json::to_string(&name)?);
                into.push(':');
                write(value, deeper, into)?;
                into.push(',');
            }
            into.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get())?;
            into.push('[');
            for value in items {
                write(value, deeper, into)?;
                into.push(',');
            }
            into.push(']');
        }
        _ => into.push_str(value.get()),
    }
    Ok(())
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
        assert_ne!(of(r#"{"a":"1,b:2"}"#), of(r#"{"a":1,"b":2}"#));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let of = |parts: &[&str]| {
            let mut hasher = Hasher::default();
            parts.iter().for_each(|part| hasher.push(part.as_bytes()).unwrap());
            hasher.finish()
        };
        assert_ne!(of(&["1", "23"]), of(&["12", "3"]));
        assert_ne!(of(&["1"]), of(&["1", "1"]));
    }

    #[test]
    fn nesting_without_end_is_an_error() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Hasher::default().push(deep.as_bytes()).is_err());
    }
}
