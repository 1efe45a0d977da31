//! Describes errors in JSON without any of its values, which serde's own texts quote.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::json::{TooDeep, place};

/// What a type expects stands last in these, and comes from the program.
const EXPECTING: [&str; 5] = [
    "invalid type",
    "invalid value",
    "invalid length",
    "unknown variant",
    "unknown field",
];

/// Describes a serde_json error without the values that its own text quotes, for places where a
/// secret must not go: what is wrong, what was expected, and the line and column.
///
/// The text of a type's own `Serialize` or `Deserialize` may quote the value, too, and is left out.
///
/// ```
/// use idem_runtime::json::json_problem;
///
/// let error = serde_json::from_str::<u64>(r#""4111 1111 1111 1111""#).unwrap_err();
/// assert_eq!(json_problem(&error), "invalid type, expected u64 at line 1 column 21");
/// ```
pub fn json_problem(error: &serde_json::Error) -> String {
    what(error) + &at(error)
}

/// Reads JSON. An error is described as by [`json_problem`], with the field that it is in.
///
/// ```
/// use idem_runtime::json::from_json;
///
/// #[derive(Debug, serde::Deserialize)]
/// struct Payment { iban: u64 }
///
/// let problem = from_json::<Payment>(br#"{"iban": "4111 1111"}"#).unwrap_err();
/// assert_eq!(problem, "invalid type, expected u64, in `iban` at line 1 column 20");
/// ```
///
/// # Errors
/// The description of the error.
pub fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| {
        let what = what(&error);
        let place = place::of_problem::<T>(json, |other| self::what(other) == what)
            .map(|place| format!(", in `{place}`"))
            .unwrap_or_default();
        format!("{what}{place}{}", at(&error))
    })
}

/// Returns where the error is, if it says so.
fn at(error: &serde_json::Error) -> String {
    match error.line() {
        0 => String::new(),
        line => format!(" at line {line} column {}", error.column()),
    }
}

fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.strip_suffix(&at(error)).unwrap_or(&text);
    match error.classify() {
        // serde_json's own words, which quote nothing.
        Category::Syntax | Category::Eof => text.to_owned(),
        Category::Io => "it cannot be read or written".to_owned(),
        Category::Data => of_data(text),
    }
}

fn of_data(text: &str) -> String {
    if let Some(kind) = EXPECTING.into_iter().find(|kind| text.starts_with(kind)) {
        return match text.rsplit_once(", expected ") {
            Some((_, expected))
                if !text.ends_with(", there are no variants")
                    && !text.ends_with(", there are no fields") =>
            {
                format!("{kind}, expected {expected}")
            }
            _ => format!("{kind}, and there are none"),
        };
    }
    let names_a_field = |kind: &str| {
        let name = text
            .strip_prefix(kind)?
            .strip_prefix(" field `")?
            .strip_suffix('`')?;
        (!name.contains('`')).then(|| text.to_owned())
    };
    let of_an_enum = || {
        let name = text.strip_prefix("data did not match any variant of untagged enum ")?;
        name.chars()
            .all(|char| char.is_alphanumeric() || char == '_')
            .then(|| text.to_owned())
    };
    // idem's own.
    let too_deep = || {
        let depth = text
            .strip_prefix("it is nested ")?
            .split(' ')
            .next()?
            .parse()
            .ok()?;
        Some(TooDeep(depth).to_string()).filter(|own| own == text)
    };
    let known = names_a_field("missing")
        .or_else(|| names_a_field("duplicate"))
        .or_else(of_an_enum)
        .or_else(too_deep);
    known.unwrap_or_else(|| "a rule of its type refuses it".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use serde::Deserialize;

    use super::*;

    const SECRET: &str = "4111-7777";

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Payment {
        #[expect(dead_code, reason = "only read")]
        iban: u64,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        kind: Option<Kind>,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        lines: Vec<Line>,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        limits: BTreeMap<String, Line>,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        Card,
        Bank,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        #[expect(dead_code, reason = "only read")]
        unit_price: Cents,
    }

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    struct Cents;

    impl TryFrom<String> for Cents {
        type Error = String;
        fn try_from(text: String) -> Result<Self, String> {
            Err(format!("missing digits in {text}, expected {text}"))
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    enum Either {
        #[expect(dead_code, reason = "only read")]
        Number(u64),
    }

    #[derive(Debug, Deserialize)]
    enum Never {}

    #[track_caller]
    fn assert_problem<T: DeserializeOwned + Debug>(json: &str, expected: &str) {
        let problem = from_json::<T>(json.as_bytes()).unwrap_err();
        assert_eq!(problem, expected, "{json}");
        assert!(
            !problem.contains("4111") && !problem.contains("alice"),
            "{problem}"
        );
        let error = serde_json::from_str::<T>(json).unwrap_err();
        let short = json_problem(&error);
        assert!(
            expected.starts_with(short.split(" at line").next().unwrap()),
            "{short}"
        );
    }

    #[test]
    fn no_text_holds_a_value_whatever_is_wrong() {
        let iban = format!(r#"{{"iban":"{SECRET}"}}"#);
        assert_problem::<Payment>(
            &iban,
            "invalid type, expected u64, in `iban` at line 1 column 19",
        );
        assert_problem::<Payment>(
            r#"{"iban":-4111}"#,
            "invalid value, expected u64, in `iban` at line 1 column 13",
        );
        assert_problem::<Payment>(
            r#"{"iban":"4111, expected 4111"}"#,
            "invalid type, expected u64, in `iban` at line 1 column 29",
        );
        assert_problem::<Payment>(
            &format!(r#"{{"iban":1,"kind":"{SECRET}"}}"#),
            "unknown variant, expected `Card` or `Bank`, in `kind` at line 1 column 28",
        );
        assert_problem::<Payment>(
            &format!(r#"{{"iban":1,"{SECRET}":1}}"#),
            "unknown field, expected one of `iban`, `kind`, `lines`, `limits` at line 1 column 21",
        );
        assert_problem::<Payment>("{}", "missing field `iban` at line 1 column 2");
        assert_problem::<Payment>(
            r#"{"iban":1,"iban":1}"#,
            "duplicate field `iban` at line 1 column 16",
        );
        assert_problem::<Payment>(
            r#"{"iban":4111"#,
            "EOF while parsing an object at line 1 column 12",
        );
        assert_problem::<Payment>(
            r#"{"iban":4111x}"#,
            "expected `,` or `}` at line 1 column 13",
        );
        assert_problem::<[u8; 2]>(
            "[41]",
            "invalid length, expected an array of length 2 at line 1 column 4",
        );
        assert_problem::<Never>(
            &format!(r#""{SECRET}, expected 4111""#),
            "unknown variant, and there are none at line 1 column 26",
        );
        assert_problem::<Either>(
            &format!(r#""{SECRET}""#),
            "data did not match any variant of untagged enum Either",
        );
    }

    #[test]
    fn what_a_type_says_itself_is_left_out_and_a_maps_key_is_no_name() {
        assert_problem::<Payment>(
            &format!(r#"{{"iban":1,"lines":[{{"unitPrice":"{SECRET}"}}]}}"#),
            "a rule of its type refuses it, in `lines[0].unitPrice` at line 1 column 44",
        );
        assert_problem::<Payment>(
            r#"{"iban":1,"limits":{"alice":{"unitPrice":4111}}}"#,
            "invalid type, expected a string, in `limits.*.unitPrice` at line 1 column 45",
        );
    }
}
