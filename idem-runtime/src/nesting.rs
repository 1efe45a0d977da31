//! How deep a JSON text may be nested: one limit for messages, edits and results.

/// The most levels of objects and arrays. serde_json reads 127, and what lists or exports a payload puts it into objects
/// of its own.
pub(crate) const DEEPEST: usize = 100;

/// A text is nested more deeply than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nested more than {limit} levels deep, which is the limit", limit = DEEPEST)]
pub(crate) struct TooDeep;

/// Checks a whole JSON text.
pub(crate) fn check(json: &[u8]) -> Result<(), TooDeep> {
    if levels(json) > DEEPEST { Err(TooDeep) } else { Ok(()) }
}

/// How many objects and arrays are around the innermost one, itself counted.
pub(crate) fn levels(json: &[u8]) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                open += 1;
                most = most.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    most
}

/// Goes behind a string's closing quote.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_outside_of_strings() {
        for (json, expected) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[1,{}],"b":[]}"#, 3),
            (r#"["[[[","\"[[",[]]"#, 2),
            ("[]]]][[", 2),
            ("\"[", 0),
        ] {
            assert_eq!(levels(json.as_bytes()), expected, "{json}");
        }
    }

    #[test]
    fn the_limit_itself_is_taken() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(nested(DEEPEST).as_bytes()), Ok(()));
        assert_eq!(check(nested(DEEPEST + 1).as_bytes()), Err(TooDeep));
    }
}
