//! What tracing systems add to a trace's context: the header `tracestate`.

use std::sync::Arc;

/// The most list members.
const MOST_MEMBERS: usize = 32;
/// The longest text that is handed on, in bytes: what the standard asks of everybody.
const LONGEST: usize = 512;
/// The longest key and the longest value, in bytes.
const LONGEST_PART: usize = 256;

/// Returns the [`tracestate`] of its headers, without the members past the 512th byte; `None` if
/// there is none, or it is not one.
///
/// [`tracestate`]: https://www.w3.org/TR/trace-context-2/#tracestate-header
pub(super) fn read<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Option<Arc<str>> {
    let (mut state, mut members, mut full) = (String::new(), 0, false);
    for header in headers {
        for member in std::str::from_utf8(header).ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            members += 1;
            full |= state.len() + 1 + member.len() > LONGEST;
            if full {
                continue;
            }
            if !is_member(member) {
                return None;
            }
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(member);
        }
    }
    (!state.is_empty() && members <= MOST_MEMBERS).then(|| state.into())
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else {
        return false;
    };
    let first = |it: &u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let further = |it: u8| first(&it) || b"_-*/@".contains(&it);
    let key_fits = key.as_bytes().first().is_some_and(first) && key.bytes().all(further);
    let value_fits = value
        .bytes()
        .all(|it| matches!(it, b' '..=b'~') && it != b'=');
    key_fits && value_fits && !value.is_empty() && key.len().max(value.len()) <= LONGEST_PART
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(headers: &[&str]) -> Option<String> {
        let headers = headers.iter().map(|header| header.as_bytes());
        read(headers).map(|state| state.to_string())
    }

    #[test]
    fn its_headers_are_one_list_whose_tail_is_cut_off() {
        let joined = state(&["congo=t61rcWkgMzE , ", "1@rojo=00f067aa0ba902b7"]);
        assert_eq!(joined.unwrap(), "congo=t61rcWkgMzE,1@rojo=00f067aa0ba902b7");
        let long = format!("a={0},b={0},c={0}", "x".repeat(250));
        assert_eq!(state(&[&long]).unwrap(), long[..505]);
    }

    #[test]
    fn rubbish_is_none() {
        let many = (0..33).map(|it| format!("k{it}=v,")).collect::<String>();
        for rubbish in [
            "", " , ", "key", "=v", "k=", "Key=v", "k=a=b", "k=\u{7f}", "k=é", "k=a\tb", &many,
        ] {
            assert_eq!(state(&[rubbish]), None, "{rubbish}");
        }
    }
}
