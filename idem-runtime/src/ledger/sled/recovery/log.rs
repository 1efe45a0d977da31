//! Reading the log: every read that fails is an error, where sled would take it for the log's end.

mod walk;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::format::{HEADER, Head, Header, Message, SEGMENT, has_room, message};
use super::groups;
use super::snapshot::Snapshot;
use crate::ledger::folder::files;
use walk::Walk;

/// So many segments before the one with the last acknowledged group are forgotten too: sled's
/// background writes beside the groups.
const BEFORE: usize = 128;

/// sled's log, and the segments that no snapshot covers.
pub(super) struct Log {
    file: File,
    tree: PathBuf,
    pub(super) length: u64,
    /// Where each segment stands in the file, by where it begins in the log of all time.
    segments: BTreeMap<u64, u64>,
    /// Where the last segment begins that has a header, be it one that counts for nothing.
    pub(super) highest: Option<u64>,
    /// Where some segment before them begins.
    earlier: Option<u64>,
    /// The highest place that a header calls stable.
    stable: u64,
    /// Something cannot be read that a power cut seldom leaves.
    pub(super) doubtful: bool,
}

/// A segment whose header is another's for as long as sled starts.
#[must_use = "its header is to be put back"]
pub(super) struct Hidden {
    file: File,
    at: u64,
    header: [u8; HEADER],
}

impl Hidden {
    /// Puts the header back. It is durable when the log is synced next.
    pub(super) fn show(self) -> io::Result<()> {
        self.file.write_all_at(&self.header, self.at)
    }
}

impl Log {
    /// Opens the log in sled's folder. `None` if there is no log.
    pub(super) fn open(tree: &Path) -> io::Result<Option<Self>> {
        let file = match files::read(&tree.join("db")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let length = file.metadata()?.len();
        let tree = tree.to_owned();
        Ok(Some(Self {
            file,
            tree,
            length,
            segments: BTreeMap::new(),
            highest: None,
            earlier: None,
            stable: 0,
            doubtful: false,
        }))
    }

    /// Finds the segments from a place of the log on. `active` is where the first of them stands,
    /// should its header be another's: an opening that broke off left it so (see [`Log::hide`]).
    ///
    /// A header that calls a place stable whose segment is not there was written, and what it
    /// speaks of was not: the power was cut in between. It and its like count for nothing; none of
    /// it was synced.
    pub(super) fn find_segments(&mut self, from: u64, active: Option<u64>) -> io::Result<()> {
        self.segments.clear();
        self.highest = None;
        let (mut stable, mut hidden) = (BTreeMap::new(), None);
        let last = self.length.saturating_sub(HEADER as u64);
        for at in (0..=last)
            .step_by(SEGMENT as usize)
            .filter(|_| self.length >= HEADER as u64)
        {
            let mut bytes = [0; HEADER];
            self.file.read_exact_at(&mut bytes, at)?;
            match Head::read(&bytes) {
                Head::Begins(Header { lsn, stable: claim }) if lsn >= from => {
                    if self.segments.insert(lsn, at).is_some() {
                        let twice = format!("two segments of its log begin at {lsn}");
                        return Err(io::Error::new(io::ErrorKind::InvalidData, twice));
                    }
                    stable.insert(lsn, claim);
                    self.highest = self.highest.max(Some(lsn));
                }
                _ if Some(at) == active => hidden = Some(at),
                Head::Begins(header) => self.earlier = Some(header.lsn),
                Head::Unreadable => self.doubtful = true,
                Head::Empty => {}
            }
        }
        if let Some(at) = hidden {
            self.segments.entry(from).or_insert(at);
            self.highest = self.highest.max(Some(from));
        }
        let segment = |place: u64| place / SEGMENT * SEGMENT;
        while let Some(highest) = stable.values().copied().max().filter(|claim| *claim > from) {
            if segment(highest) == from || self.segments.contains_key(&segment(highest)) {
                break;
            }
            for (lsn, _) in stable.extract_if(.., |_, claim| segment(*claim) == segment(highest)) {
                tracing::warn!(
                    lsn,
                    "a part of the log that was never synced is dropped: what came before it is missing"
                );
                self.segments.remove(&lsn);
            }
        }
        self.stable = stable.values().copied().max().unwrap_or(from).max(from);
        Ok(())
    }

    /// The last of the segments: where it begins in the log of all time, and where it stands in the
    /// file.
    pub(super) fn last_segment(&self) -> Option<(u64, u64)> {
        self.segments
            .iter()
            .next_back()
            .map(|(lsn, at)| (*lsn, *at))
    }

    /// Makes the system drop its cached pages behind the last acknowledged group.
    ///
    /// After a sync that failed, Linux calls pages clean that never came to the disk ([fsyncgate]):
    /// a reader would see them until the power is cut. Later reads come from the disk.
    ///
    /// [fsyncgate]: https://wiki.postgresql.org/wiki/Fsync_Errors
    pub(super) fn forget_unsynced(&self, acknowledged: Option<u64>) -> io::Result<()> {
        // Pages that are dirty only because the process was killed must not be lost.
        self.file.sync_data()?;
        let mut before = None;
        for (lsn, at) in self.segments.iter().rev() {
            match before {
                None if self
                    .newest_group_in(*lsn, *at, u64::MAX)?
                    .is_some_and(|group| Some(group) <= acknowledged) =>
                {
                    before = Some(BEFORE);
                }
                None => {}
                Some(0) => break,
                Some(left) => before = Some(left - 1),
            }
            fadvise(&self.file, *at, NonZeroU64::new(SEGMENT), Advice::DontNeed)?;
        }
        crate::failpoint::point!(FORGOTTEN);
        Ok(())
    }

    /// The place behind the last message before which everything is there: behind the stable place,
    /// segments and messages have to follow each other without a gap.
    pub(super) fn end(&self, from: u64) -> io::Result<Option<u64>> {
        let first = (self.stable / SEGMENT * SEGMENT).max(from);
        let (mut expected, mut missing, mut tail) = (first, None, BTreeMap::new());
        for (lsn, at) in self.segments.range(first..) {
            if *lsn != expected {
                missing = Some(expected);
                break;
            }
            tail.insert(*lsn, *at);
            expected += SEGMENT;
        }
        let mut walk = Walk {
            log: self,
            until: missing,
            past_tears: false,
            torn: false,
        };
        walk.all(&tail, |_, _, _| Some(()))
    }

    /// Takes all messages before the end into a snapshot.
    pub(super) fn apply(&mut self, snapshot: &mut Snapshot, end: u64) -> io::Result<Option<u64>> {
        let known = snapshot.until.unwrap_or(0);
        let mut walk = Walk {
            log: self,
            until: Some(end - 1),
            past_tears: true,
            torn: false,
        };
        let end = walk.all(&self.segments, |kind, page, part| {
            if part.lsn < known {
                Some(())
            } else {
                snapshot.apply(kind, page, part)
            }
        })?;
        self.doubtful |= walk.torn;
        Ok(end)
    }

    /// The newest group of which the log has an entry of the journal before the end.
    pub(super) fn newest_group(&self, end: u64) -> io::Result<Option<u64>> {
        for (lsn, at) in self.segments.range(..end).rev() {
            if let Some(group) = self.newest_group_in(*lsn, *at, end)? {
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    fn newest_group_in(&self, lsn: u64, at: u64, end: u64) -> io::Result<Option<u64>> {
        let segment = self.segment(at)?;
        let (mut newest, mut place) = (None, HEADER as u64);
        while has_room(place) && lsn + place < end {
            let Some((message, length)) = message(&segment, place as usize, lsn / SEGMENT) else {
                break;
            };
            match message {
                Message::Page {
                    kind,
                    blob: false,
                    body,
                    ..
                } => newest = newest.max(groups::newest(kind, body)),
                Message::Cap => break,
                _ => {}
            }
            place += length;
        }
        Ok(newest)
    }

    /// Whether [`Log::hide`] can hide a segment.
    pub(super) fn can_hide(&self) -> bool {
        self.earlier.is_some()
    }

    /// Hides the segment that sled is to go on writing in behind the header of one before it, so
    /// that sled reads nothing of it when it starts: what it failed to read it would overwrite.
    /// Should sled not even find its snapshot, it sees that header twice and refuses to start,
    /// before it has written anything. What stands behind the last message is overwritten, for what
    /// comes next must not run into it. Gives the header, to be put back.
    pub(super) fn hide(&self, at: u64, until: u64) -> io::Result<Hidden> {
        let file = files::open(File::options().write(true), &self.tree.join("db"))?;
        let (segment, used) = (self.segment(at)?, (until % SEGMENT) as usize);
        let lsn = until / SEGMENT * SEGMENT;
        let header = match segment.first_chunk() {
            Some(header) if matches!(Head::read(header), Head::Begins(header) if header.lsn == lsn) => {
                *header
            }
            _ => Header { lsn, stable: lsn }.bytes(),
        };
        if segment
            .get(used..)
            .is_some_and(|rest| rest.iter().any(|byte| *byte != 0))
        {
            file.write_all_at(&vec![0; segment.len() - used], at + used as u64)?;
        }
        let earlier = self.earlier.unwrap_or(0);
        file.write_all_at(
            &Header {
                lsn: earlier,
                stable: earlier,
            }
            .bytes(),
            at,
        )?;
        Ok(Hidden { file, at, header })
    }

    /// A segment's bytes; the file's last may be shorter.
    fn segment(&self, at: u64) -> io::Result<Vec<u8>> {
        let mut segment = vec![0; SEGMENT.min(self.length.saturating_sub(at)) as usize];
        self.file.read_exact_at(&mut segment, at)?;
        Ok(segment)
    }

    /// Whether a value that stands in a file of its own is there and whole.
    fn has_blob(&self, number: i64) -> io::Result<Option<bool>> {
        let mut blob = match files::read(&self.tree.join("blobs").join(number.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut sum = [0; 4];
        match blob.read_exact(&mut sum) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(false)),
            read => read?,
        }
        // It is read in pieces, because its size is not known.
        let (mut hasher, mut piece) = (crc32fast::Hasher::new(), vec![0; 1 << 16]);
        loop {
            match blob.read(&mut piece) {
                Ok(0) => return Ok(Some(u32::from_le_bytes(sum) == hasher.finalize())),
                Ok(length) => hasher.update(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
