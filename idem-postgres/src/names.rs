//! Keys and texts as the database keeps them.

use std::borrow::Cow;

use idem_runtime::protocol::RecordId;

/// Returns the primary key of a record's row: 160 bits of BLAKE3. Unlike the key itself it has one
/// length, and no collation that an upgrade of the system could change.
pub(crate) fn row_id(id: &RecordId) -> [u8; 20] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(id.handler.len() as u64).to_le_bytes());
    hasher.update(id.handler.as_bytes());
    hasher.update(id.key.as_bytes());
    let mut hash = [0; 20];
    hasher.finalize_xof().fill(&mut hash);
    hash
}

/// Returns a text as PostgreSQL can keep it, which has no NUL: `\0` stands for it, `\\` for a
/// backslash.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', '\\']) {
        text.replace('\\', r"\\").replace('\0', r"\0").into()
    } else {
        text.into()
    }
}

/// Returns the text that [`text`] was given.
pub(crate) fn from_text(kept: &str) -> Cow<'_, str> {
    if !kept.contains('\\') {
        return kept.into();
    }
    let mut text = String::with_capacity(kept.len());
    let mut chars = kept.chars();
    while let Some(char) = chars.next() {
        text.push(match char {
            '\\' if chars.next() == Some('0') => '\0',
            char => char,
        });
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        for given in [
            "",
            "A-1",
            "\0",
            "\\",
            "\\0",
            "\\\0\\\\0",
            "a\\b\0c",
            "\u{1F4A9}\\",
        ] {
            let kept = text(given);
            assert!(!kept.contains('\0'));
            assert_eq!(from_text(&kept), given);
        }
    }
}
