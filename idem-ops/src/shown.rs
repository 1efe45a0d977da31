//! Characters of foreign texts, such as keys and errors, that must not be shown as they are.

/// Returns whether an invisible character changes how other text is shown: controls, directions of the
/// text, characters without a width. Joiners do not count: scripts need them.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The same for a page, in which lines are broken and indented.
#[cfg(feature = "dashboard")]
fn steers_a_page(character: char) -> bool {
    steers(character) && !matches!(character, '\n' | '\r' | '\t')
}

/// Replaces such characters of a page by the replacement character, as in mails.
#[cfg(feature = "dashboard")]
pub(crate) fn page(html: String) -> String {
    if html.contains(steers_a_page) {
        html.replace(steers_a_page, "\u{fffd}")
    } else {
        html
    }
}

/// Escapes such characters of JSON, where they are in strings only.
#[cfg(feature = "dashboard")]
pub fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if steers_a_page(character) {
            escape(character, &mut escaped);
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Escapes a character for a JSON string.
#[cfg(feature = "dashboard")]
fn escape(character: char, into: &mut String) {
    use std::fmt::Write as _;
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing into a string cannot fail.
        let _ = write!(into, "\\u{unit:04x}");
    }
}
