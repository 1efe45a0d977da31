//! The format of issued keys.

use jiff::Timestamp;
use uuid::Uuid;

/// Digits and letters that are hard to confuse when read aloud or from paper: Crockford's base 32.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The alphabet of check digits, from ISO 7064 MOD 37,36.
const ALPHABET: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The format of issued keys: a list of parts.
///
/// ```
/// use idem_runtime::issuer::KeyFormat;
///
/// // A-20261122-000001, and a check digit behind it
/// let order_no = KeyFormat::new().text("A-").date().text("-").sequence(6).check_digit();
/// // INV-7K2M-9XQ4TB
/// let invoice = KeyFormat::new().text("INV-").random(4).text("-").random(6);
/// # drop((order_no, invoice));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct KeyFormat {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Date,
    Sequence(usize),
    Random(usize),
    CheckDigit,
    UuidV7,
}

impl KeyFormat {
    /// Returns a format without parts. It needs a sequence, a UUID, or enough random digits;
    /// otherwise its keys run out.
    pub fn new() -> Self {
        Self::default()
    }

    /// A UUID of version 7 ([RFC 9562]): unique without coordination, and ordered by time.
    ///
    /// [RFC 9562]: https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
    pub fn uuid_v7() -> Self {
        Self {
            parts: vec![Part::UuidV7],
        }
    }

    /// Adds a fixed text.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.and(Part::Text(text.into()))
    }

    /// Adds the day in UTC, as `20261122`.
    pub fn date(self) -> Self {
        self.and(Part::Date)
    }

    /// Adds a number that counts up, with at least this many digits. It restarts at 1 whenever the
    /// text before it is new: with [`date`](Self::date) before it, each day. Numbers may be skipped
    /// (a process that ends skips up to 99), and are never reused.
    pub fn sequence(self, digits: usize) -> Self {
        self.and(Part::Sequence(digits))
    }

    /// Adds this many random digits and letters that are hard to confuse. They cannot be guessed.
    pub fn random(self, digits: usize) -> Self {
        self.and(Part::Random(digits))
    }

    /// Adds a check digit or letter over all digits and letters before it, which detects mistyped
    /// keys: ISO 7064 MOD 37,36.
    pub fn check_digit(self) -> Self {
        self.and(Part::CheckDigit)
    }

    fn and(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Returns the text before the sequence, if there is one: each has its own numbers.
    pub(super) fn scope(&self, now: Timestamp) -> Option<String> {
        let at = self
            .parts
            .iter()
            .position(|part| matches!(part, Part::Sequence(_)))?;
        let fixed = self.parts[..at]
            .iter()
            .filter(|part| matches!(part, Part::Text(_) | Part::Date));
        Some(fixed.fold(String::new(), |key, part| part.add(key, now, 0)))
    }

    /// Returns the key with this number.
    pub(super) fn key(&self, now: Timestamp, number: u64) -> String {
        self.parts
            .iter()
            .fold(String::new(), |key, part| part.add(key, now, number))
    }
}

impl Part {
    fn add(&self, mut key: String, now: Timestamp, number: u64) -> String {
        match self {
            Part::Text(text) => key.push_str(text),
            Part::Date => key += &now.strftime("%Y%m%d").to_string(),
            Part::Sequence(digits) => key += &format!("{number:0digits$}"),
            Part::Random(digits) => key.extend((0..*digits).map(|_| chance())),
            Part::CheckDigit => key.push(check_digit(&key)),
            Part::UuidV7 => key += &Uuid::now_v7().to_string(),
        }
        key
    }
}

/// Random bytes of the operating system: a key that can be guessed can be used by others.
fn chance() -> char {
    char::from(LETTERS[usize::from(Uuid::new_v4().as_bytes()[0] & 31)])
}

/// Returns the check digit of ISO 7064 MOD 37,36. Other characters than digits and letters do not
/// count.
fn check_digit(key: &str) -> char {
    let values = key.bytes().filter_map(|byte| {
        let byte = byte.to_ascii_uppercase();
        ALPHABET.iter().position(|digit| *digit == byte)
    });
    let product = values.fold(36, |product, value| {
        let sum = (product + value) % 36;
        (if sum == 0 { 36 } else { sum }) * 2 % 37
    });
    char::from(ALPHABET[(37 - product) % 36])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_are_those_of_the_standard() {
        // The example of the Global Release Identifier, which uses it.
        assert_eq!(check_digit("A12425GABC1234002"), 'M');
        assert_eq!(check_digit("A1-2425G-ABC1234002-"), 'M');
        let one_wrong = (0..36).filter(|at| {
            check_digit(&format!("A12425GABC123400{}", char::from(ALPHABET[*at]))) == 'M'
        });
        assert_eq!(one_wrong.count(), 1, "each wrong digit is found");
    }

    #[test]
    fn parts_stand_one_after_the_other() {
        let now = "2026-11-22T23:59:59Z".parse().unwrap();
        let rule = KeyFormat::new().text("A-").date().text("-").sequence(6);
        assert_eq!(rule.scope(now).as_deref(), Some("A-20261122-"));
        assert_eq!(rule.key(now, 42), "A-20261122-000042");
        assert_eq!(
            rule.key(now, 12_345_678),
            "A-20261122-12345678",
            "it grows, and is never used again"
        );
        let random = KeyFormat::new().text("R").random(8);
        assert_eq!(random.scope(now), None);
        assert_eq!(random.key(now, 0).len(), 9);
        assert_ne!(random.key(now, 0), random.key(now, 0));
    }
}
