//! A message whose key is another message's: what became of that one, and where the two differ.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::idem::shared::Shared;
use crate::ledger::LedgerError;
use crate::message::redact::REDACTED;
use crate::protocol::{Difference, Holder, Phase, Record, RecordId, Reused, Settlement};

/// The deepest place that is named; what is below it is compared as a whole.
const DEEPEST: usize = 16;

/// What is known of the message that has the key of the one with these arguments.
///
/// # Errors
/// The ledger cannot be read.
pub(super) async fn find(
    shared: &Shared,
    id: &RecordId,
    ours: Option<&[u8]>,
) -> Result<Reused, LedgerError> {
    let (by, theirs) = match shared.record(id).await? {
        None => (Holder::Gone, None),
        Some(Record::Live(live)) => {
            let by = match live.phase {
                Phase::Running { since, .. } => Holder::Running { since },
                Phase::Waiting { until, .. } => Holder::Waiting { until },
            };
            (by, Some(live.payload.to_vec()))
        }
        Some(Record::Settled(settled)) => match settled.end {
            Settlement::Done(_) => (Holder::Done { at: settled.at }, None),
            Settlement::Issued => (Holder::Gone, None),
            Settlement::Dead(letter) => (Holder::Dead { letter }, content(shared, letter).await?),
            Settlement::Discarded(letter) => {
                (Holder::Discarded { letter }, content(shared, letter).await?)
            }
        },
    };
    let differences = theirs
        .as_deref()
        .zip(ours)
        .and_then(|(theirs, ours)| differences(theirs, ours).ok());
    Ok(Reused::new(by, differences))
}

/// What a letter keeps of its message.
async fn content(
    shared: &Shared,
    letter: crate::protocol::DeadLetterId,
) -> Result<Option<Vec<u8>>, LedgerError> {
    let letter = shared.ledger.letter(letter).await?;
    // The bytes of a buried one are in a form that is its broker's, and not its arguments.
    Ok(letter
        .filter(|letter| !letter.is_buried())
        .map(|letter| letter.payload.as_str().into()))
}

/// Where two payloads differ, without what is redacted in either. They are compared as they are
/// written, so that no digit of a number is lost.
fn differences(theirs: &[u8], ours: &[u8]) -> serde_json::Result<Vec<Difference>> {
    let mut found = Vec::new();
    let (theirs, ours) = (
        serde_json::from_slice(theirs)?,
        serde_json::from_slice(ours)?,
    );
    compare(&mut String::new(), 0, Some(theirs), Some(ours), &mut found)?;
    Ok(found)
}

fn compare(
    path: &mut String,
    depth: usize,
    theirs: Option<&RawValue>,
    ours: Option<&RawValue>,
    found: &mut Vec<Difference>,
) -> serde_json::Result<()> {
    if let (Some(theirs), Some(ours)) = (theirs, ours) {
        if theirs.get() == ours.get() {
            return Ok(());
        }
        match (
            theirs.get().as_bytes().first(),
            ours.get().as_bytes().first(),
        ) {
            (Some(b'{'), Some(b'{')) if depth < DEEPEST => {
                let (theirs, ours): (Fields<'_>, Fields<'_>) = (read(theirs)?, read(ours)?);
                let names = theirs
                    .keys()
                    .chain(ours.keys().filter(|name| !theirs.contains_key(*name)));
                return names.clone().try_for_each(|name| {
                    let inside = (theirs.get(name).copied(), ours.get(name).copied());
                    below(path, name, |path| {
                        compare(path, depth + 1, inside.0, inside.1, found)
                    })
                });
            }
            (Some(b'['), Some(b'[')) if depth < DEEPEST => {
                let (theirs, ours): (Vec<&RawValue>, Vec<&RawValue>) = (read(theirs)?, read(ours)?);
                return (0..theirs.len().max(ours.len())).try_for_each(|at| {
                    let inside = (theirs.get(at).copied(), ours.get(at).copied());
                    below(path, &at.to_string(), |path| {
                        compare(path, depth + 1, inside.0, inside.1, found)
                    })
                });
            }
            // One text has many spellings.
            (Some(b'"'), Some(b'"')) if read::<String>(theirs)? == read::<String>(ours)? => {
                return Ok(());
            }
            _ => {}
        }
    }
    let hidden = |value: Option<&RawValue>| {
        value.is_some_and(|value| value.get().trim_matches('"') == REDACTED)
    };
    if !hidden(theirs) && !hidden(ours) {
        found.push(Difference {
            path: path.clone(),
            theirs: theirs.map(shown),
            ours: ours.map(shown),
        });
    }
    Ok(())
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

fn read<'a, T: serde::Deserialize<'a>>(value: &'a RawValue) -> serde_json::Result<T> {
    serde_json::from_str(value.get())
}

fn below<T>(path: &mut String, name: &str, inside: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    if length > 0 {
        path.push('.');
    }
    path.push_str(name);
    let result = inside(path);
    path.truncate(length);
    result
}

fn shown(value: &RawValue) -> String {
    let text = value.get();
    if text.len() <= Difference::LONGEST {
        return text.to_owned();
    }
    format!(
        "{}…",
        &text[..text.floor_char_boundary(Difference::LONGEST)]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(theirs: &str, ours: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let found = differences(theirs.as_bytes(), ours.as_bytes()).unwrap();
        found
            .into_iter()
            .map(|Difference { path, theirs, ours }| (path, theirs, ours))
            .collect()
    }

    fn one(
        path: &str,
        theirs: Option<&str>,
        ours: Option<&str>,
    ) -> (String, Option<String>, Option<String>) {
        (
            path.to_owned(),
            theirs.map(str::to_owned),
            ours.map(str::to_owned),
        )
    }

    #[test]
    fn two_messages_differ_field_by_field_and_to_the_last_digit() {
        let theirs = r#"{"order":{"no":"A-1","qty":2,"wei":20000000000000000001,"lines":[{"sku":"x"},7],"old":null}}"#;
        let ours = r#"{"order":{"no":"\u0041-1","wei":20000000000000000002,"qty":3,"lines":[{"sku":"y"}],"new":{}}}"#;
        assert_eq!(
            found(theirs, ours),
            [
                one("order.lines.0.sku", Some("\"x\""), Some("\"y\"")),
                one("order.lines.1", Some("7"), None),
                one("order.old", Some("null"), None),
                one("order.qty", Some("2"), Some("3")),
                one(
                    "order.wei",
                    Some("20000000000000000001"),
                    Some("20000000000000000002")
                ),
                one("order.new", None, Some("{}")),
            ]
        );
        assert_eq!(found(theirs, theirs), []);
    }

    #[test]
    fn what_is_redacted_in_either_is_left_out() {
        let theirs = r#"{"card":"[redacted]","phone":null,"lines":[{"iban":"[redacted]","n":1}]}"#;
        let ours = r#"{"card":null,"phone":"[redacted]","lines":[{"iban":"[redacted]","n":2}]}"#;
        assert_eq!(
            found(theirs, ours),
            [one("lines.0.n", Some("1"), Some("2"))]
        );
    }

    #[test]
    fn long_values_and_many_places_are_cut() {
        let long = format!(r#"{{"a":"{}"}}"#, "é".repeat(200));
        let [(_, Some(shown), _)] = &found(&long, r#"{"a":1}"#)[..] else {
            panic!("one place")
        };
        assert!(
            shown.len() <= Difference::LONGEST + '…'.len_utf8() && shown.ends_with('…'),
            "{shown}"
        );
        let many = |value: u8| serde_json::to_vec(&vec![value; 30]).unwrap();
        let reused = Reused::new(Holder::Gone, Some(differences(&many(1), &many(2)).unwrap()));
        assert_eq!(
            (reused.differences.map(|all| all.len()), reused.more),
            (Some(Reused::MOST), 10)
        );
    }
}
