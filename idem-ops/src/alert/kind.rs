//! The kind of an error: its text without the parts that differ from message to message.

use idem_runtime::DeadLetter;

/// The most characters of a kind.
const LONGEST: usize = 120;

/// Returns the kind of a letter's last error, or the letter's reason if there is no error text.
pub fn kind_of_error(letter: &DeadLetter) -> String {
    letter
        .last_error()
        .map_or_else(|| letter.reason.to_string(), kind_of)
}

/// Blanks numbers, ids and quoted parts: `card 4711 declined for "A-1"` is `card …
/// declined for …`.
fn kind_of(text: &str) -> String {
    let mut kind = String::new();
    let mut rest = text.lines().next().unwrap_or_default();
    while let Some(first) = rest.chars().next() {
        let quoted = matches!(first, '"' | '\'' | '`')
            .then(|| rest[1..].find(first))
            .flatten();
        let length = match quoted {
            Some(end) => end + 2,
            None => {
                let word = &rest[..rest.find(|c| !is_of_a_word(c)).unwrap_or(rest.len())];
                // Punctuation at a word's end is not part of an id.
                word.trim_end_matches(['.', ':']).len()
            }
        };
        let (piece, after) = rest.split_at(if length == 0 {
            first.len_utf8()
        } else {
            length
        });
        match quoted.is_some() || piece.contains(|c: char| c.is_ascii_digit()) {
            true if kind.ends_with('…') => {}
            true => kind.push('…'),
            false => kind.push_str(piece),
        }
        rest = after;
    }
    kind.chars()
        .take(LONGEST)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Returns whether the character can be part of an id.
fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '@')
}

#[cfg(test)]
mod tests {
    use super::kind_of;

    #[test]
    fn what_differs_from_message_to_message_is_blanked() {
        for (text, kind) in [
            ("card declined", "card declined"),
            ("card 4711 declined for \"A-1001\"", "card … declined for …"),
            (
                "order 6f9619ff-8b86-d011-b42d-00c04fc964ff not found",
                "order … not found",
            ),
            (
                "timed out after 1.5s: 10.0.0.7:5432",
                "timed out after …: …",
            ),
            ("it's broken", "it's broken"),
            ("no stock\nof 5", "no stock"),
            ("«кот» 7 не найден", "«кот» … не найден"),
            ("", ""),
        ] {
            assert_eq!(kind_of(text), kind, "{text}");
        }
    }
}
