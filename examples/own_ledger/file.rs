//! A sorted map of bytes that is kept in one append-only file: each write is a line at its end, and
//! the whole file is read when it is opened.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// What a write does to a key: a new value, or none.
pub(crate) type Entry = (Vec<u8>, Option<Vec<u8>>);

pub(crate) struct Map {
    /// `None` once it is closed, or a write has failed: then the file may end anywhere, and it is cut
    /// when it is opened again.
    file: Option<File>,
    pub(crate) values: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Map {
    /// Opens the file, which one process at a time may have.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path)?;
        file.try_lock()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut map = Self {
            file: None,
            values: BTreeMap::new(),
        };
        let mut end = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match read(line) {
                Some(entries) => map.keep(entries),
                // A crash cut it, so it was never answered.
                None if end + line.len() == bytes.len() => break,
                None => return Err(io::ErrorKind::InvalidData.into()),
            }
            end += line.len();
        }
        file.set_len(end as u64)?;
        file.sync_all()?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        map.file = Some(file);
        Ok(map)
    }

    /// Makes a write durable, all of it or nothing.
    pub(crate) fn write(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        let closed = || io::Error::other("the file is closed: open the ledger again");
        let mut file = self.file.take().ok_or_else(closed)?;
        file.write_all(&line(&entries)?)?;
        file.sync_data()?;
        self.file = Some(file);
        self.keep(entries);
        Ok(())
    }

    pub(crate) fn close(&mut self) {
        self.file = None;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.file.is_none()
    }

    fn keep(&mut self, entries: Vec<Entry>) {
        for (key, value) in entries {
            match value {
                Some(value) => drop(self.values.insert(key, value)),
                None => drop(self.values.remove(&key)),
            }
        }
    }
}

/// A line: a checksum, and the entries as JSON.
fn line(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(entries)?;
    let checksum = format!("{:08x} ", crc32fast::hash(&json));
    Ok([checksum.as_bytes(), &json, b"\n"].concat())
}

/// Reads a line, if it is whole.
fn read(line: &[u8]) -> Option<Vec<Entry>> {
    let (checksum, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    let checksum = u32::from_str_radix(str::from_utf8(checksum).ok()?.trim_end(), 16).ok()?;
    (crc32fast::hash(json) == checksum).then(|| serde_json::from_slice(json).ok())?
}
