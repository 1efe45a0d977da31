//! The business table of the handler with `existing`: a line with token and attempt for each
//! message whose work is done.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use crate::emit::emit_trouble;

static TABLE: OnceLock<Mutex<Table>> = OnceLock::new();

struct Table {
    rows: HashMap<u64, (u64, u32)>,
    file: File,
}

/// Reads what earlier processes wrote.
pub(crate) fn read(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // A kill may have torn the last line; its body got no further.
    let whole = text.rfind('\n').map_or(0, |last| last + 1);
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .expect("the folder can be written");
    file.set_len(whole as u64)
        .expect("the folder can be written");
    let rows = text[..whole].lines().map(|line| {
        let mut numbers = line
            .split(' ')
            .map(|number| number.parse::<u64>().expect("a number"));
        let mut next = || numbers.next().expect("three numbers");
        (
            next(),
            (next(), u32::try_from(next()).expect("an attempt's number")),
        )
    });
    let table = Table {
        rows: rows.collect(),
        file,
    };
    assert!(TABLE.set(Mutex::new(table)).is_ok(), "read once");
}

/// Returns the token and the number of the attempt that did the message's work.
pub(crate) fn look(n: u64) -> Option<(u64, u32)> {
    lock().rows.get(&n).copied()
}

/// Does the message's work, which must not be done twice. The page cache survives a kill, so
/// nothing is synced.
pub(crate) fn put(n: u64, token: u64, number: u32) {
    let mut table = lock();
    table
        .file
        .write_all(format!("{n} {token} {number}\n").as_bytes())
        .expect("the table can be written");
    if let Some((first, _)) = table.rows.insert(n, (token, number)) {
        emit_trouble(format!(
            "message {n} is in the business table twice, with the tokens {first} and {token}"
        ));
    }
}

fn lock() -> std::sync::MutexGuard<'static, Table> {
    TABLE
        .get()
        .expect("read at the start")
        .lock()
        .expect("no thread panics while it holds the lock")
}
