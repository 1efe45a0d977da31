//! Decodes the spellings of a text in addresses, JSON and HTML.

/// The most times that a text is decoded.
const DEPTH: usize = 4;
/// The longest name of a character in HTML that is decoded.
const LONGEST: usize = 10;

/// Decodes the text until nothing is left to decode.
pub(super) fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    for _ in 0..DEPTH {
        let decoded = decode(&plain);
        if decoded == plain {
            break;
        }
        plain = decoded;
    }
    plain
}

fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(first) = rest.chars().next() {
        let (character, length) = escaped(rest).unwrap_or_else(|| {
            // Forms encode a space as `+`.
            (
                Decoded::Char(if first == '+' { ' ' } else { first }),
                first.len_utf8(),
            )
        });
        match character {
            Decoded::Byte(byte) => bytes.push(byte),
            Decoded::Char(character) => bytes.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = &rest[length..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

enum Decoded {
    /// A byte of UTF-8.
    Byte(u8),
    Char(char),
}

/// Decodes the escape that the text begins with, if any. Returns the escape's length too.
fn escaped(text: &str) -> Option<(Decoded, usize)> {
    let hex = |digits: &str| u32::from_str_radix(digits, 16).ok();
    if let Some(rest) = text.strip_prefix('%') {
        let byte = hex(rest.get(..2)?)?;
        return Some((Decoded::Byte(u8::try_from(byte).ok()?), 3));
    }
    if let Some(rest) = text.strip_prefix('\\') {
        let (digits, length) = match rest.as_bytes().first()? {
            b'u' => (rest.get(1..5)?, 6),
            b'x' => (rest.get(1..3)?, 4),
            b'/' | b'\\' | b'"' | b'\'' => {
                return Some((Decoded::Char(char::from(*rest.as_bytes().first()?)), 2));
            }
            _ => return None,
        };
        return Some((Decoded::Char(char::from_u32(hex(digits)?)?), length));
    }
    let rest = text.strip_prefix('&')?;
    let name = &rest[..rest.bytes().take(LONGEST).position(|byte| byte == b';')?];
    let character = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "plus" => '+',
        "sol" => '/',
        "equals" => '=',
        "colon" => ':',
        "quest" => '?',
        "percnt" => '%',
        _ => {
            let number = name.strip_prefix('#')?;
            let number = number
                .strip_prefix('x')
                .map_or_else(|| number.parse().ok(), hex);
            char::from_u32(number?)?
        }
    };
    Some((Decoded::Char(character), name.len() + 2))
}
