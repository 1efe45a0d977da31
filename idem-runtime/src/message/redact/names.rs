//! Redacts a message that no handler could take: its fields may be misplaced or misspelt.

use super::{Place, rewritten};

/// What is nested deeper is hidden as it is, for each level is read once more.
const DEEPEST: u8 = 32;

/// The names on the paths of `redact(…)`, by which fields are hidden wherever they stand.
///
/// A field of a path's last name is hidden. Where another name of a path has a value that leads no
/// further, or an array of such, its type is not the one that the handler expects, and it may be
/// the secret: it is hidden too, and so is a message that is one itself.
#[derive(Debug, Default)]
pub(crate) struct Names {
    last: Vec<String>,
    before: Vec<String>,
}

impl Names {
    pub(crate) fn new<'p>(paths: impl IntoIterator<Item = &'p str>) -> Self {
        let mut names = Self::default();
        for path in paths {
            let (before, last) = path.rsplit_once('.').unwrap_or(("", path));
            names.last.push(letters(last));
            names.before.extend(
                before
                    .split('.')
                    .filter(|name| !name.is_empty())
                    .map(letters),
            );
        }
        names
    }

    /// Returns the message with the named fields replaced.
    ///
    /// # Errors
    /// When the message is not JSON.
    pub(crate) fn hide(&self, message: &[u8]) -> serde_json::Result<Vec<u8>> {
        rewritten(
            message,
            &Anywhere {
                names: self,
                hidden: Hidden::Scalars,
                deeper: DEEPEST,
            },
        )
    }
}

/// A name is one however it is spelled: `card_no`, `cardNo`, `Card-No`.
pub(super) fn letters(name: &str) -> String {
    name.chars()
        .filter(|char| char.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// A place in such a message.
#[derive(Clone, Copy)]
struct Anywhere<'n> {
    names: &'n Names,
    hidden: Hidden,
    /// How many levels further in are looked at.
    deeper: u8,
}

#[derive(Clone, Copy)]
enum Hidden {
    Nothing,
    /// Texts, numbers and truths; of an array, each element that is one.
    Scalars,
    All,
}

impl Place for Anywhere<'_> {
    fn hides(&self, value: &str) -> bool {
        let nested = value.starts_with(['{', '[']);
        match self.hidden {
            Hidden::All => true,
            Hidden::Scalars if !nested => true,
            _ => nested && self.deeper == 0,
        }
    }

    fn leads_on(&self) -> bool {
        true
    }

    fn field(&self, name: &str) -> Self {
        let name = letters(name);
        let hidden = if self.names.last.contains(&name) {
            Hidden::All
        } else if self.names.before.contains(&name) {
            Hidden::Scalars
        } else {
            Hidden::Nothing
        };
        Self {
            hidden,
            deeper: self.deeper.saturating_sub(1),
            ..*self
        }
    }

    fn element(&self) -> Self {
        Self {
            deeper: self.deeper.saturating_sub(1),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_hidden(json: &str, paths: &[&str], expected: &str) {
        let hidden = Names::new(paths.iter().copied())
            .hide(json.as_bytes())
            .unwrap();
        assert_eq!(String::from_utf8(hidden).unwrap(), expected);
    }

    #[test]
    fn a_field_of_a_paths_last_name_is_hidden_wherever_it_stands_and_however_it_is_spelled() {
        let json = r#"{"order_no":"A","cardNo":"4111","lines":[{"CARD-NO":[4111],"qty":1.50}],"card_no":{"no":"4111"}}"#;
        let expected = r#"{"order_no":"A","cardNo":"[redacted]","lines":[{"CARD-NO":"[redacted]","qty":1.50}],"card_no":"[redacted]"}"#;
        assert_hidden(json, &["order.card_no"], expected);
    }

    #[test]
    fn what_stands_where_a_path_leads_through_is_hidden_where_it_leads_no_further() {
        let paths = &["order.buyer.phone"];
        assert_hidden(r#"{"buyer":"+49"}"#, paths, r#"{"buyer":"[redacted]"}"#);
        assert_hidden(
            r#"{"buyer":["+49",{"name":"Ann"},["+49"]]}"#,
            paths,
            r#"{"buyer":["[redacted]",{"name":"Ann"},["[redacted]"]]}"#,
        );
        assert_hidden(
            r#"{"buyer":{"name":"Ann"},"qty":1}"#,
            paths,
            r#"{"buyer":{"name":"Ann"},"qty":1}"#,
        );
        assert_hidden(r#""+49""#, paths, r#""[redacted]""#);
        assert_hidden(r#"["A-1","+49"]"#, paths, r#"["[redacted]","[redacted]"]"#);
        assert_hidden("null", paths, "null");
    }

    #[test]
    fn a_key_that_is_there_twice_is_hidden_twice() {
        assert_hidden(
            r#"{"no":1,"a":1,"no":2}"#,
            &["card.no"],
            r#"{"no":"[redacted]","a":1,"no":"[redacted]"}"#,
        );
    }

    #[test]
    fn what_is_too_deep_to_be_looked_at_is_hidden() {
        let deep = |levels: usize, inside: &str| {
            format!(
                "{}{inside}{}",
                r#"{"a":"#.repeat(levels),
                "}".repeat(levels)
            )
        };
        assert_hidden(&deep(32, r#""A""#), &["o.no"], &deep(32, r#""A""#));
        assert_hidden(&deep(40, r#""A""#), &["o.no"], &deep(32, r#""[redacted]""#));
    }
}
