//! The table beside an embedded ledger: a line with token and attempt for each message.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use crate::emit::emit_trouble;

pub(crate) struct Table(Mutex<Lines>);

struct Lines {
    rows: HashMap<u64, (u64, u32)>,
    file: File,
}

impl Table {
    /// Reads what earlier processes wrote.
    pub(crate) fn read(path: &Path) -> Self {
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
        let rows = rows.collect();
        Self(Mutex::new(Lines { rows, file }))
    }

    pub(super) fn look(&self, n: u64) -> Option<(u64, u32)> {
        self.lock().rows.get(&n).copied()
    }

    /// The page cache survives a kill, so nothing is synced.
    pub(super) fn put(&self, n: u64, token: u64, number: u32) {
        let mut lines = self.lock();
        lines
            .file
            .write_all(format!("{n} {token} {number}\n").as_bytes())
            .expect("the table can be written");
        if let Some((first, _)) = lines.rows.insert(n, (token, number)) {
            emit_trouble(format!(
                "message {n} is in the business table twice, with the tokens {first} and {token}"
            ));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}
