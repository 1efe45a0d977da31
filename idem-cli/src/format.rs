//! Text for a terminal: no key, error text or payload may steer it.

use idem_runtime::json::Json;
use serde::Serialize;

use idem_ops::internals::steers;

/// Returns whether a character of the text steers a terminal.
pub(crate) fn steers_any(text: &str) -> bool {
    text.contains(steers)
}

/// Returns the text on one line, with characters that steer a terminal escaped as in Rust.
pub(crate) fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if steers(c) => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

/// Returns the same, cut to this many characters.
pub(crate) fn short(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", line(&text[..end])),
        None => line(text),
    }
}

/// Returns the same with its line breaks kept.
pub(crate) fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Returns the paths of a payload for a sentence.
pub(crate) fn paths(paths: &[String]) -> String {
    paths
        .iter()
        .map(|path| format!("`{}`", line(path)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns JSON that does not steer a terminal, indented or on one line. Numbers stay as they are
/// written.
pub(crate) fn json(value: &impl Serialize, pretty: bool) -> serde_json::Result<String> {
    let json = Json::from_serialize(value)?;
    let laid_out = if pretty {
        format!("{json:#}")
    } else {
        json.compact().to_string()
    };
    Ok(idem_ops::internals::escape_json(&laid_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\r\nb\u{7f}\u{e0041}";

    #[test]
    fn no_text_steers_a_terminal() {
        assert_eq!(
            line(HOSTILE),
            "a\\u{1b}]0;title\\u{7}\\u{9b}31m\\u{202e}\\r\\nb\\u{7f}\\u{e0041}"
        );
        assert_eq!(lines("one\n\u{1b}[2Jtwo"), "one\n\\u{1b}[2Jtwo");
        assert_eq!(short("größer", 3), "grö…");
        assert_eq!(short("größe", 5), "größe");
    }

    #[test]
    fn json_is_read_back_as_it_was_and_steers_no_terminal() {
        let value = serde_json::json!({ HOSTILE: [HOSTILE, "größer", 1.5, null, { "a": [] }] });
        for pretty in [true, false] {
            let text = json(&value, pretty).unwrap();
            assert!(!text.contains(|c| steers(c) && c != '\n'), "{text}");
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&text).unwrap(),
                value
            );
        }
        assert_eq!(json(&value, false).unwrap().lines().count(), 1);
        let raw: Json = "{\r\n\t\"\u{202e}\" : [20000000000000000001,\n12345678901234567.890] }"
            .parse()
            .unwrap();
        let exact = r#"{"\u202e":[20000000000000000001,12345678901234567.890]}"#;
        assert_eq!(json(&[&raw], false).unwrap(), format!("[{exact}]"));
    }
}
