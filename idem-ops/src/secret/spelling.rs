//! One spelling for all that mean the same: of addresses, of JSON and of HTML.

/// How often a text may have been encoded.
const DEPTH: usize = 4;
/// The longest name of a character in HTML that is looked for.
const LONGEST: usize = 10;

/// The text decoded until nothing is left to decode.
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
            // A form writes a space so.
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
    /// Of UTF-8.
    Byte(u8),
    Char(char),
}

/// What the text begins with, where that stands for something else, and how long it is.
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
