//! sled's snapshot: where each page's parts stand in the log, up to a place in it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::format::{Bytes, Kind, put};
use crate::ledger::folder::files;

const PREFIX: &str = "snap.";
const UNFINISHED: &str = ".generating";
/// What follows the pages: how many bytes they take, and a checksum.
const LENGTH_AND_SUM: usize = 12;
/// A page's part takes at most 28 bytes here and at least 8 in the log, and one in a file of its
/// own 8 more in both.
const PER_BYTE_OF_LOG: u64 = 4;
/// Of any log.
const SMALL: u64 = 1 << 16;
/// sled counts the parts of a page in a byte.
const MOST_PARTS: usize = 254;

/// The known state of the pages.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Snapshot {
    /// All of the log before this place is in it.
    pub(super) until: Option<u64>,
    /// The segment that sled would go on writing in.
    pub(super) active: Option<u64>,
    /// The newest group in it, where that is known. It stands in the file's name: sled takes the
    /// name's beginning only.
    pub(super) group: Option<u64>,
    pages: Vec<State>,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    /// The page as a whole, and what changed since.
    Present {
        base: Part,
        links: Vec<Part>,
    },
    Free(u64, Pointer),
    /// A page of which nothing was found.
    Unknown,
}

/// A message that is a part of a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub(super) lsn: u64,
    pub(super) at: Pointer,
    pub(super) size: u64,
}

/// Where it stands in the file; a large one stands in a file of its own, of this number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pointer {
    pub(super) at: u64,
    pub(super) blob: Option<u64>,
}

impl Snapshot {
    /// Reads the newest snapshot in sled's folder. `None` if there is no snapshot.
    ///
    /// # Errors
    /// Of the kind `InvalidData` where it is damaged.
    pub(super) fn newest(tree: &Path) -> io::Result<Option<Self>> {
        let Some(path) = files(tree)?
            .into_iter()
            .filter(|path| !is_unfinished(path))
            .max()
        else {
            return Ok(None);
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its snapshot is damaged");
        let log = fs::symlink_metadata(tree.join("db")).map_or(0, |log| log.len());
        let (most, mut bytes) = (
            PER_BYTE_OF_LOG.saturating_mul(log).saturating_add(SMALL),
            Vec::new(),
        );
        files::read(&path)?.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its snapshot is larger than its log can need",
            ));
        }
        let (body, end) = bytes.split_at(
            bytes
                .len()
                .checked_sub(LENGTH_AND_SUM)
                .ok_or_else(damaged)?,
        );
        let sum = Bytes(&end[8..]).u32();
        if sum != Some(crc32fast::hash(body)) {
            return Err(damaged());
        }
        let group = path
            .file_name()
            .and_then(|name| name.to_str()?.split_once('-')?.1.parse().ok());
        Self::read(body)
            .map(|snapshot| Some(Self { group, ..snapshot }))
            .ok_or_else(damaged)
    }

    fn read(body: &[u8]) -> Option<Self> {
        let mut rest = Bytes(body);
        // Of a place that may be missing, sled writes one more: 0 stands for none.
        let until = u64::try_from(rest.i64()?).ok()?.checked_sub(1);
        let active = rest.u64()?.checked_sub(1);
        let mut pages = Vec::new();
        while !rest.0.is_empty() {
            pages.push(State::read(&mut rest)?);
        }
        Some(Self {
            until,
            active,
            group: None,
            pages,
        })
    }

    /// Takes a message in.
    pub(super) fn apply(&mut self, kind: Kind, page: u64, part: Part) -> Option<()> {
        let index = usize::try_from(page)
            .ok()
            .filter(|index| *index < 1 << 37)?;
        let is_new = index >= self.pages.len();
        match kind {
            // The page as a whole was moved to a later place, which comes.
            Kind::Link if is_new => return Some(()),
            Kind::Link => {
                if let State::Present { base, links } = &mut self.pages[index]
                    && links.last().unwrap_or(base).lsn < part.lsn
                {
                    links.push(part);
                }
                return Some(());
            }
            Kind::Page | Kind::Free => {}
        }
        if is_new {
            self.pages.resize(index + 1, State::Unknown);
        }
        self.pages[index] = match kind {
            Kind::Free => State::Free(part.lsn, part.at),
            _ => State::Present {
                base: part,
                links: Vec::new(),
            },
        };
        Some(())
    }

    /// Whether every page is known, and all of it within a log of this length.
    pub(super) fn is_whole(&self, length: u64) -> bool {
        let within = |pointer: &Pointer| pointer.at < length;
        self.pages.iter().all(|page| match page {
            State::Present { base, links } => {
                links.len() < MOST_PARTS
                    && within(&base.at)
                    && links.iter().all(|link| within(&link.at))
            }
            State::Free(_, at) => within(at),
            State::Unknown => false,
        })
    }

    /// Puts it in place of the older ones, durably.
    pub(super) fn put(&self, tree: &Path) -> io::Result<()> {
        let older = files(tree)?;
        let (until, group) = (self.until.unwrap_or(0), self.group.unwrap_or(0));
        let path = tree.join(format!("{PREFIX}{until:016X}-{group}"));
        let unfinished = PathBuf::from(format!("{}{UNFINISHED}", path.display()));
        let mut file = files::open(
            File::options().write(true).create(true).truncate(true),
            &unfinished,
        )?;
        file.write_all(&self.bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(tree)?.sync_all()?;
        older
            .iter()
            .filter(|old| **old != path && **old != unfinished)
            .try_for_each(fs::remove_file)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.until.map_or(0, |until| until + 1).to_le_bytes());
        put(&mut bytes, self.active.map_or(0, |active| active + 1));
        self.pages.iter().for_each(|page| page.write(&mut bytes));
        let (length, sum) = (bytes.len() as u64, crc32fast::hash(&bytes));
        bytes.extend(length.to_le_bytes());
        bytes.extend(sum.to_le_bytes());
        bytes
    }
}

/// Removes snapshots that were not finished: sled would read them.
pub(super) fn remove_unfinished(tree: &Path) -> io::Result<()> {
    files(tree)?
        .iter()
        .filter(|path| is_unfinished(path))
        .try_for_each(fs::remove_file)
}

fn files(tree: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for file in fs::read_dir(tree)? {
        let file = file?;
        if file
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            files.push(file.path());
        }
    }
    Ok(files)
}

fn is_unfinished(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .ends_with(UNFINISHED.as_bytes())
}

impl State {
    fn read(rest: &mut Bytes<'_>) -> Option<Self> {
        let parts = rest.u8()?;
        if parts == 0 {
            return Some(Self::Free(
                rest.i64()?.try_into().ok()?,
                Pointer::read(rest)?,
            ));
        }
        let base = Part::read(rest)?;
        let links = (1..parts)
            .map(|_| Part::read(rest))
            .collect::<Option<_>>()?;
        Some(Self::Present { base, links })
    }

    fn write(&self, into: &mut Vec<u8>) {
        match self {
            Self::Free(lsn, at) => {
                into.push(0);
                into.extend(lsn.to_le_bytes());
                at.write(into);
            }
            Self::Present { base, links } => {
                // `is_whole` was asked: it fits.
                into.push(1 + links.len() as u8);
                base.write(into);
                links.iter().for_each(|link| link.write(into));
            }
            Self::Unknown => {}
        }
    }
}

impl Part {
    fn read(rest: &mut Bytes<'_>) -> Option<Self> {
        Some(Self {
            lsn: rest.i64()?.try_into().ok()?,
            at: Pointer::read(rest)?,
            size: rest.u64()?,
        })
    }

    fn write(&self, into: &mut Vec<u8>) {
        into.extend(self.lsn.to_le_bytes());
        self.at.write(into);
        put(into, self.size);
    }
}

impl Pointer {
    fn read(rest: &mut Bytes<'_>) -> Option<Self> {
        let is_blob = match rest.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let at = rest.u64()?;
        let blob = if is_blob {
            Some(rest.i64()?.try_into().ok()?)
        } else {
            None
        };
        Some(Self { at, blob })
    }

    fn write(&self, into: &mut Vec<u8>) {
        into.push(u8::from(self.blob.is_some()));
        put(into, self.at);
        if let Some(blob) = self.blob {
            into.extend(blob.to_le_bytes());
        }
    }
}
