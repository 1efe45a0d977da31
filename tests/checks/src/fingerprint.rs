//! Any bytes in place of a payload.

use idem_runtime::protocol::Fingerprint;
use idem_runtime::testing::internals::fingerprint as of;
use serde_json::Value;

/// The bytes are JSON texts, one a line, or anything.
///
/// Objects in another order have the same fingerprint, values that differ have another; what is no
/// JSON is an error.
pub fn fingerprint(bytes: &[u8]) {
    let _ = of(&[bytes]);
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let whole = of(&lines);
    let single: Vec<_> = lines
        .iter()
        .filter_map(|line| Some((of(&[line]).ok()?, *line)))
        .collect();
    assert_eq!(
        whole.is_ok(),
        single.len() == lines.len(),
        "some lines have no fingerprint, or only alone"
    );

    // Numbers that no `f64` holds have a fingerprint and no value.
    let read: Vec<_> = single
        .iter()
        .filter_map(|(fingerprint, line)| {
            Some((*fingerprint, serde_json::from_slice::<Value>(line).ok()?))
        })
        .collect();
    for (index, (fingerprint, value)) in read.iter().enumerate() {
        for (other, another) in &read[index + 1..] {
            assert!(
                fingerprint != other || value == another,
                "{value} and {another} have one fingerprint"
            );
        }
        let sorted = written(value, false);
        assert_eq!(
            one(&sorted),
            one(&written(value, true)),
            "the order of its keys counts in {value}"
        );
        for edited in edits(value, 4) {
            // Nested one deeper it may be too deep.
            let other = of(&[written(&edited, false).as_bytes()]).ok();
            assert_ne!(
                other,
                Some(one(&sorted)),
                "{value} and {edited} have one fingerprint"
            );
        }
    }

    if let Ok(whole) = whole {
        let without_the_last = of(&lines[..lines.len() - 1]).ok();
        assert_ne!(
            without_the_last,
            Some(whole),
            "the last of the texts does not count"
        );
        let turned: Vec<_> = lines.iter().rev().copied().collect();
        let fingerprints: Vec<_> = single.iter().map(|(fingerprint, _)| fingerprint).collect();
        let same = fingerprints.iter().eq(fingerprints.iter().rev());
        assert_eq!(
            of(&turned).ok() == Some(whole),
            same,
            "the order of the texts does not count"
        );
    }
}

fn one(text: &str) -> Fingerprint {
    of(&[text.as_bytes()]).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The value as JSON, the keys of its objects forwards or backwards.
fn written(value: &Value, backwards: bool) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| written(item, backwards)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| {
                    format!(
                        "{}:{}",
                        Value::from(name.as_str()),
                        written(value, backwards)
                    )
                })
                .collect();
            if backwards {
                fields.reverse();
            }
            format!("{{{}}}", fields.join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// Other values that are near, changed at most that deep inside.
fn edits(value: &Value, depth: usize) -> Vec<Value> {
    let mut edits = vec![match value {
        Value::Null => Value::Bool(false),
        _ => Value::Null,
    }];
    let inside = |value| {
        depth
            .checked_sub(1)
            .map(|deeper| self::edits(value, deeper))
            .unwrap_or_default()
    };
    match value {
        Value::Array(items) => {
            edits.push([items.as_slice(), &[Value::Null]].concat().into());
            if let Some((last, rest)) = items.split_last() {
                edits.push(rest.to_vec().into());
                edits.extend(
                    inside(last)
                        .into_iter()
                        .map(|last| [rest, &[last]].concat().into()),
                );
            }
            if let [one, two, ..] = &items[..]
                && let Ok(run_together) = serde_json::from_str(&format!("{one}{two}"))
            {
                edits.push([&[run_together], &items[2..]].concat().into());
            }
            if items.first() != items.last() {
                edits.push(items.iter().rev().cloned().collect());
            }
        }
        Value::Object(fields) => {
            let mut more = fields.clone();
            if more.insert("another".to_owned(), Value::Null).is_none() {
                edits.push(more.into());
            }
            if let Some((name, value)) = fields.iter().next_back() {
                let mut fewer = fields.clone();
                fewer.remove(name);
                edits.push(fewer.clone().into());
                edits.extend(inside(value).into_iter().map(|edited| {
                    let edited = [(name.clone(), edited)];
                    fewer.clone().into_iter().chain(edited).collect()
                }));
                let longer = format!("{name}\"");
                if fewer.insert(longer, value.clone()).is_none() {
                    edits.push(fewer.into());
                }
            }
        }
        Value::String(text) => edits.push(format!("{text} ").into()),
        Value::Number(number) => edits.push(number.to_string().into()),
        Value::Bool(bool) => edits.push((!bool).into()),
        Value::Null => edits.push("null".into()),
    }
    edits
}
