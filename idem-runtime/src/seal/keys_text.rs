//! Keys as the text of an environment variable or a file.

use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use zeroize::Zeroizing;

use super::SealKeys;

/// Why a text is not a list of keys. It shows no part of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "seal key {number} of the text {problem}: write each key as `id:key`, where the key is 32 bytes in base64, as \
     `openssl rand -base64 32` prints them, and the current key first"
)]
pub struct SealKeysError {
    /// The position of the key, from 1.
    number: usize,
    problem: &'static str,
}

impl FromStr for SealKeys {
    type Err = SealKeysError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut keys: Option<Self> = None;
        for (before, word) in text.split_whitespace().enumerate() {
            let bad = |problem| SealKeysError {
                number: before + 1,
                problem,
            };
            let (id, key) = word.split_once(':').ok_or(bad("has no `:`"))?;
            if id.is_empty() {
                return Err(bad("has no id"));
            }
            let mut bytes = Zeroizing::new([0; 32]);
            let written = BASE64_STANDARD
                .decode_slice(key, &mut *bytes)
                .map_err(|_| bad("is not 32 bytes in base64"))?;
            if written != bytes.len() {
                return Err(bad("is not 32 bytes in base64"));
            }
            keys = Some(match keys {
                None => Self::new(id, &bytes),
                Some(keys) => keys.older(id, &bytes),
            });
        }
        keys.ok_or(SealKeysError {
            number: 1,
            problem: "is missing",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_or_refused_without_showing_it() {
        let key = BASE64_STANDARD.encode([7; 32]);
        let keys: SealKeys = format!("new:{key}\n old:{key}\n").parse().unwrap();
        assert_eq!(format!("{keys:?}"), r#"["new", "old"]"#);
        for (text, part) in [
            (String::new(), "key 1 of the text is missing"),
            (format!("new:{key} {key}"), "key 2 of the text has no `:`"),
            (format!(":{key}"), "has no id"),
            ("new:c2VjcmV0".to_owned(), "is not 32 bytes"),
            (format!("new:{key}A"), "is not 32 bytes"),
        ] {
            let error = text.parse::<SealKeys>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(
                !error.contains(&key) && !error.contains("c2VjcmV0"),
                "{error}"
            );
        }
    }
}
