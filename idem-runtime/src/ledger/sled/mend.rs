//! What a power cut may leave and sled does not cope with, put right before sled opens its files.
//!
//! sled takes a write for durable before it is: a segment's header names the place up to which "all is stable", and
//! recovery believes the highest such claim. When a cut keeps that header and loses what it speaks of, sled finds a hole
//! where it expects the newest segment, and goes back to its last snapshot: everything since the last opening is gone,
//! synced or not. What such a header belongs to was never synced, so dropping it loses nothing that was answered.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::folder::Folder;

/// How sled divides its log.
const SEGMENT: u64 = 512 << 10;

/// What a segment's header says.
struct Header {
    at: u64,
    /// Up to where the log was stable when the segment began.
    stable: u64,
}

/// Removes unfinished snapshots, which sled would read, and headers that claim more than is there.
pub(super) fn mend(folder: &Folder) -> io::Result<()> {
    let tree = &folder.tree();
    // Half of sled's settings, as a cut in a ledger's first moment leaves them, would close the folder for good. They are
    // always the same, and a ledger without a witness writes them again.
    if !folder.witness().try_exists()? && tree.join("conf").try_exists()? {
        fs::remove_file(tree.join("conf"))?;
    }
    let snapshot = finished_snapshot(tree)?;
    let log = match File::options().read(true).write(true).open(tree.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut headers = headers(&log)?;
    let mut mended = false;
    while let Some(stable) = headers.values().map(|header| segment_of(header.stable)).max() {
        if stable <= segment_of(snapshot) || headers.contains_key(&stable) {
            break;
        }
        for (number, header) in headers.extract_if(.., |_, header| segment_of(header.stable) == stable) {
            tracing::warn!(
                number,
                "a part of the log that was never synced is dropped: what came before it is missing"
            );
            log.write_all_at(&[0; 20], header.at)?;
            mended = true;
        }
    }
    if mended { log.sync_all() } else { Ok(()) }
}

fn segment_of(place: u64) -> u64 {
    place / SEGMENT
}

/// How far the newest snapshot goes.
fn finished_snapshot(tree: &Path) -> io::Result<u64> {
    let mut newest = 0;
    for file in fs::read_dir(tree)? {
        let file = file?;
        let name = file.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix("snap.")) else { continue };
        if name.ends_with(".generating") {
            fs::remove_file(file.path())?;
        } else if let Ok(place) = u64::from_str_radix(name, 16) {
            newest = newest.max(place);
        }
    }
    Ok(newest)
}

/// The headers that can be read, by their segments' numbers.
fn headers(log: &File) -> io::Result<BTreeMap<u64, Header>> {
    let mut headers = BTreeMap::new();
    for at in (0..log.metadata()?.len()).step_by(SEGMENT as usize) {
        let mut bytes = [0; 20];
        if log.read_at(&mut bytes, at)? == bytes.len()
            && let Some((place, stable)) = read(&bytes)
        {
            headers.insert(segment_of(place), Header { at, stable });
        }
    }
    Ok(headers)
}

/// A header: its checksum, where its segment begins in the log of all time, and its claim; the first of all claims
/// nothing.
fn read(header: &[u8; 20]) -> Option<(u64, u64)> {
    let (sum, rest) = header.split_first_chunk::<4>()?;
    let (place, stable) = rest.split_first_chunk::<8>()?;
    let stable = stable.first_chunk::<8>()?;
    let known = |bytes: [u8; 8]| i64::from_le_bytes(bytes) ^ i64::MAX;
    (u32::from_le_bytes(*sum) ^ u32::MAX == crc32fast::hash(rest))
        .then_some((u64::try_from(known(*place)).ok()?, u64::try_from(known(*stable)).unwrap_or(0)))
}
