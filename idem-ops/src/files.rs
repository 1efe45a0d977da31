//! Files that people name: read to their end, which has to come.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A secret in a file.
pub(crate) const SECRET: u64 = 64 << 10;
/// A configuration.
pub(crate) const CONFIG: u64 = 1 << 20;
/// Certificate authorities: a system's own take some hundred KiB.
#[cfg(any(feature = "email", feature = "webhook"))]
pub(crate) const CERTIFICATES: u64 = 16 << 20;

/// Reads a file of at most so many bytes. A pipe will do, and a device without an end is an error.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    whole(File::open(path)?, most)
}

/// The same as text.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    text(read(path, most)?)
}

/// Reads what is open.
pub fn whole(source: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than the {most} bytes that are read"),
        ));
    }
    Ok(bytes)
}

/// Returns the bytes as text.
pub fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}
