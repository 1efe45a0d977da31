//! Keys, error texts and payloads come from anywhere: nothing of them may steer the terminal they are shown on.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::shown::{escape, steers};

/// Whether any of it steers a terminal.
pub(crate) fn steers_any(text: &str) -> bool {
    text.contains(steers)
}

/// The text on one line, with whatever steers a terminal written as Rust would write it.
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

/// The same, cut to so many characters.
pub(crate) fn short(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", line(&text[..end])),
        None => line(text),
    }
}

/// The same with its line breaks kept.
pub(crate) fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Paths in a payload, in a sentence.
pub(crate) fn paths(paths: &[String]) -> String {
    paths.iter().map(|path| format!("`{}`", line(path))).collect::<Vec<_>>().join(", ")
}

/// JSON for people or programs, whose strings hold nothing that steers a terminal.
pub(crate) fn json(value: &impl Serialize, pretty: bool) -> serde_json::Result<String> {
    let mut text = Vec::new();
    if pretty {
        value.serialize(&mut Serializer::with_formatter(&mut text, Escaped(PrettyFormatter::new())))?;
    } else {
        value.serialize(&mut Serializer::with_formatter(&mut text, Escaped(serde_json::ser::CompactFormatter)))?;
    }
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

/// JSON asks to escape only what is below U+0020; a terminal acts on more.
struct Escaped<F>(F);

impl<F: Formatter> Formatter for Escaped<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if !steers_any(fragment) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut escaped = String::with_capacity(fragment.len() + 16);
        for c in fragment.chars() {
            if steers(c) {
                escape(c, &mut escaped);
            } else {
                escaped.push(c);
            }
        }
        writer.write_all(escaped.as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\r\nb\u{7f}\u{e0041}";

    #[test]
    fn no_text_steers_a_terminal() {
        assert_eq!(line(HOSTILE), "a\\u{1b}]0;title\\u{7}\\u{9b}31m\\u{202e}\\r\\nb\\u{7f}\\u{e0041}");
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
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
        assert_eq!(json(&value, false).unwrap().lines().count(), 1);
    }
}
