//! What a process and its folder take.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns this process's resident memory in MiB, or NaN where the system does not say.
pub fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<f64>().ok())
        .map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Returns the bytes that the files of a folder take on the disk. One that is removed meanwhile takes
/// nothing.
///
/// # Errors
/// If a folder cannot be listed.
pub fn disk(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        bytes += match path.metadata() {
            Ok(file) if file.is_dir() => disk(&path)?,
            Ok(file) => file.blocks() * 512,
            Err(_) => 0,
        };
    }
    Ok(bytes)
}
