//! The idempotency key: its parts, encoded so that no two lists of parts come to one text.

use std::fmt::{Display, Write};
use std::sync::Arc;

/// The longest key, in bytes of its encoded form.
pub(crate) const LONGEST: usize = 1024;

/// Room for most keys.
const USUAL: usize = 64;

/// A key that is being put together, or what is wrong with it.
#[derive(Debug)]
pub(crate) struct Key {
    /// Not held further than past the limit, however long the parts are.
    text: String,
    /// What the whole text would have.
    bytes: usize,
    parts: usize,
    empty_part: bool,
    unreadable: bool,
}

impl Default for Key {
    fn default() -> Self {
        Self {
            text: String::with_capacity(USUAL),
            bytes: 0,
            parts: 0,
            empty_part: false,
            unreadable: false,
        }
    }
}

impl Key {
    /// Adds a part. Commas stand between parts, so a comma or a backslash within one gets a
    /// backslash before it.
    pub(crate) fn push(&mut self, part: &dyn Display) {
        if self.parts > 0 {
            self.add(",");
        }
        self.parts += 1;
        let before = self.bytes;
        self.unreadable |= write!(Escaped(self), "{part}").is_err();
        self.empty_part |= self.bytes == before;
    }

    fn add(&mut self, text: &str) {
        self.bytes += text.len();
        let room = (LONGEST + 1).saturating_sub(self.text.len());
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
    }

    /// Returns the whole key, or what is wrong with it.
    pub(crate) fn finish(&self) -> Result<Arc<str>, String> {
        match self.bytes {
            _ if self.unreadable => {
                Err("cannot be printed: its `Display` returned an error".to_owned())
            }
            _ if self.parts == 1 && self.empty_part => Err("is empty".to_owned()),
            _ if self.parts == 0 || self.empty_part => Err("has an empty part".to_owned()),
            bytes if bytes > LONGEST => Err(format!(
                "has {bytes} bytes, which is over the limit of {LONGEST}"
            )),
            _ => Ok(self.text.as_str().into()),
        }
    }
}

struct Escaped<'a>(&'a mut Key);

impl Write for Escaped<'_> {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let mut rest = part;
        while let Some(at) = memchr::memchr2(b',', b'\\', rest.as_bytes()) {
            self.0.add(&rest[..at]);
            self.0.add("\\");
            self.0.add(&rest[at..=at]);
            rest = &rest[at + 1..];
        }
        self.0.add(rest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(parts: &[String]) -> Result<Arc<str>, String> {
        let mut key = Key::default();
        parts.iter().for_each(|part| key.push(part));
        key.finish()
    }

    proptest! {
        #[test]
        fn no_two_lists_collide(
            one in proptest::collection::vec("[a,\\\\]{1,3}", 1..4),
            other in proptest::collection::vec("[a,\\\\]{1,3}", 1..4),
        ) {
            prop_assert_eq!(encoded(&one) == encoded(&other), one == other);
        }
    }

    #[test]
    fn a_key_without_content_or_without_end_is_refused() {
        assert_eq!(encoded(&[String::new()]), Err("is empty".to_owned()));
        assert_eq!(
            encoded(&["a".to_owned(), String::new()]),
            Err("has an empty part".to_owned())
        );
        assert!(encoded(&["x".repeat(LONGEST)]).is_ok());
        assert!(encoded(&["x".repeat(LONGEST + 1)]).is_err());
    }

    #[test]
    fn what_stands_behind_an_endless_part_is_not_called_empty() {
        let error = encoded(&["x".repeat(100_000), "y".to_owned()]).unwrap_err();
        assert!(error.contains("has 100002 bytes"), "{error}");
    }

    #[test]
    fn an_ordinary_key_stays_as_it_is() {
        assert_eq!(encoded(&["A-1001".to_owned()]), Ok("A-1001".into()));
        assert_eq!(
            encoded(&["acme".to_owned(), "A-1001".to_owned()]),
            Ok("acme,A-1001".into())
        );
    }
}
