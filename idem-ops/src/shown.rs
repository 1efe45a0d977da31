//! Keys, error texts and names come from anywhere: characters that are not shown as they are.

/// Whether a character acts on where it is shown, or changes how its neighbours look, without being
/// seen itself: controls, directions of the text, signs without a width. Joiners are none: scripts
/// need them.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The same where lines are broken and indented.
#[cfg(feature = "dashboard")]
fn steers_a_page(character: char) -> bool {
    steers(character) && !matches!(character, '\n' | '\r' | '\t')
}

/// A page without them: each is the replacement character, as in mails.
#[cfg(feature = "dashboard")]
pub(crate) fn page(html: String) -> String {
    if html.contains(steers_a_page) {
        html.replace(steers_a_page, "\u{fffd}")
    } else {
        html
    }
}

/// JSON that says the same without them: they stand in strings only, and a string can name them.
#[cfg(feature = "dashboard")]
pub fn json(text: &str) -> String {
    let mut said = String::with_capacity(text.len());
    for character in text.chars() {
        if steers_a_page(character) {
            escape(character, &mut said)
        } else {
            said.push(character)
        }
    }
    said
}

/// A character as a JSON string names it.
#[cfg(feature = "dashboard")]
fn escape(character: char, into: &mut String) {
    use std::fmt::Write as _;
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing into a string cannot fail.
        let _ = write!(into, "\\u{unit:04x}");
    }
}
