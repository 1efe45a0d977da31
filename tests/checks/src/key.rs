//! Any parts of an idempotency key.

use std::fmt::{self, Display, Write};

use idem_runtime::testing::internals::key as encoded;

const LONGEST: usize = 1024;

/// The bytes are text: a key a line, its parts between bars.
///
/// A key has at most 1 KiB and can be taken apart into its parts again, so no two lists of them
/// come to the same one; in however many pieces a part's `Display` gives it.
pub fn key(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.split('\n') {
        let parts: Vec<&str> = line.split('|').collect();
        check(&parts);
    }
}

fn check(parts: &[&str]) {
    let key = of(parts.iter());
    let whole: Vec<_> = parts
        .iter()
        .map(|part| part.replace('\\', "\\\\").replace(',', "\\,"))
        .collect();
    let length = whole.iter().map(String::len).sum::<usize>() + parts.len() - 1;
    match &key {
        Ok(key) => {
            assert!(
                key.len() <= LONGEST && parts.iter().all(|part| !part.is_empty()),
                "{parts:?} is `{key}`"
            );
            assert_eq!(taken_apart(key), parts);
        }
        Err(why) if parts.iter().any(|part| part.is_empty()) => {
            assert!(why.contains("empty"), "{parts:?} {why}");
        }
        Err(why) => {
            assert!(length > LONGEST, "{parts:?} {why}");
            assert!(
                why.contains(&format!("has {length} bytes")),
                "{length} bytes, and it {why}"
            );
        }
    }

    assert_eq!(
        of(parts.iter().map(Chopped)),
        key,
        "when it is printed in pieces"
    );
    let odd = |end| {
        of(parts
            .iter()
            .enumerate()
            .map(|(index, part)| Odd(part, if index == 0 { end } else { End::Good })))
    };
    let empty = parts.iter().any(|part| part.is_empty());
    assert!(
        odd(End::None).is_err_and(|why| why.contains("empty") == empty),
        "{parts:?} and the first without end"
    );
    assert!(
        odd(End::Bad).is_err_and(|why| why.contains("cannot be printed")),
        "{parts:?} and the first broken"
    );
}

fn of<D: Display>(parts: impl Iterator<Item = D>) -> Result<String, String> {
    let parts: Vec<D> = parts.collect();
    let parts: Vec<&dyn Display> = parts.iter().map(|part| part as &dyn Display).collect();
    encoded(&parts)
}

/// The parts of a key: a comma ends one, unless there is a backslash before it.
fn taken_apart(key: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = key.chars();
    while let Some(char) = chars.next() {
        if char == ',' {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.extend(if char == '\\' {
                chars.next()
            } else {
                Some(char)
            });
        }
    }
    parts
}

/// Printed character by character, with nothing in between.
struct Chopped<'a>(&'a &'a str);

impl Display for Chopped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            f.write_str("")?;
            f.write_char(char)?;
            write!(f, "{}", format_args!(""))?;
        }
        Ok(())
    }
}

/// A `Display` that does not end well.
struct Odd<'a>(&'a str, End);

#[derive(Clone, Copy)]
enum End {
    Good,
    /// With an error after some of it.
    Bad,
    /// After more than a key can hold.
    None,
}

impl Display for Odd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        match self.1 {
            End::Good => Ok(()),
            End::Bad => Err(fmt::Error),
            End::None => (0..=LONGEST / self.0.len().max(1)).try_for_each(|_| f.write_str(self.0)),
        }
    }
}
