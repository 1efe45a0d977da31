//! Reads whole files up to a limit.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The limit of a file with a secret, in bytes.
pub(crate) const SECRET: u64 = 64 << 10;
/// The limit of a configuration, in bytes.
pub(crate) const CONFIG: u64 = 1 << 20;
/// The limit of a file with certificates, in bytes; a system's own have some hundred KiB.
#[cfg(any(feature = "email", feature = "webhook"))]
pub(crate) const CERTIFICATES: u64 = 16 << 20;

/// Reads a file of at most `most` bytes, which may be a pipe. A device without an end is an error.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    whole(File::open(path)?, most)
}

/// Reads a file of at most `most` bytes as text.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    text(read(path, most)?)
}

/// Reads an open source of at most `most` bytes.
pub fn whole(source: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than the allowed {most} bytes"),
        ));
    }
    Ok(bytes)
}

/// Returns the bytes as text.
pub fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}
