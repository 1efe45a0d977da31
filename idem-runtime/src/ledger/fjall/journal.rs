//! Reading fjall's journals before fjall does, so that an opening that is refused has changed nothing.
//!
//! fjall takes what it cannot read for the torn end of a crash, and cuts it off. It notices a batch
//! whose sum is wrong, and is then not opened again, though a power cut may leave just that at the end.
//! So the journals are read here first: their groups are counted, the last one is held against the
//! witness, and a torn end behind it is cut off.
//!
//! The format is fjall's own, version 3: a start with the number of items and a sequence number, the
//! items, and an end with their XXH3 sum. All numbers but those in our own rows are little-endian.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::rows::{META, Meta};
use crate::ledger::LedgerError;
use crate::ledger::folder::files;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const TRAILER: &[u8] = b"FJL\x03";
/// How far the sequence numbers of two batches may be apart. A flipped bit makes them differ by more, or
/// changes their order.
const LARGEST_STEP: u64 = 1 << 32;
/// No key or value of ours is longer. A length that claims more is damaged.
const LONGEST: u64 = 1 << 30;

/// What a journal says of one group.
struct Batch {
    sequence: u64,
    /// The number of the group, if it is one of ours.
    group: Option<u64>,
}

/// How a journal ends.
enum End {
    /// Nothing follows, or what was allocated beforehand.
    Clean,
    /// What begins here is no whole batch.
    Torn { at: u64 },
}

/// Checks the journals of a ledger of which this group was acknowledged, and cuts off a torn end behind it.
/// Without a group, all that can be read is kept.
pub(super) fn check(
    tree: &Path,
    path: &Path,
    acknowledged: Option<u64>,
) -> Result<(), LedgerError> {
    let refused = |error: io::Error| LedgerError::from_io(path, &error);
    let damaged = |detail: String| LedgerError::Damaged {
        path: path.to_owned(),
        detail,
    };
    let (mut last, mut sequence) = (None::<u64>, 0);
    let mut torn: Option<(PathBuf, u64)> = None;
    for journal in journals(tree).map_err(refused)? {
        let mut reader = Reader::open(&journal).map_err(refused)?;
        let name = || {
            journal
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let end = loop {
            let batch = match reader.next().map_err(refused)? {
                Ok(batch) => batch,
                Err(end) => break end,
            };
            if let Some((torn, _)) = &torn
                && acknowledged.is_some()
            {
                return Err(damaged(format!(
                    "its journal {} breaks off, and {} goes on",
                    torn.file_name().unwrap_or_default().display(),
                    name()
                )));
            }
            let in_order = batch.sequence > sequence || last.is_none();
            if acknowledged.is_some()
                && last.is_some()
                && !(in_order && batch.sequence - sequence < LARGEST_STEP)
            {
                return Err(damaged(format!(
                    "the batches of its journal {} are out of order",
                    name()
                )));
            }
            sequence = batch.sequence;
            if let Some(group) = batch.group {
                if acknowledged.is_some() && last.is_some_and(|last| group != last + 1) {
                    return Err(damaged(format!(
                        "group {group} of its journal {} follows group {}",
                        name(),
                        last.unwrap_or_default()
                    )));
                }
                last = Some(group);
            }
        };
        if let End::Torn { at } = end {
            torn = torn.or(Some((journal, at)));
        }
    }
    if let Some((acknowledged, found)) = acknowledged.zip(last)
        && found < acknowledged
    {
        return Err(LedgerError::Behind {
            path: path.to_owned(),
            found,
            acknowledged,
        });
    }
    match torn {
        Some((_, _)) if acknowledged.is_some_and(|group| group > 0) && last.is_none() => Err(
            damaged("the beginning of its journal cannot be read".to_owned()),
        ),
        Some((journal, at)) => cut_off(&journal, at).map_err(refused),
        None => Ok(()),
    }
}

/// Returns the journals, the oldest first.
fn journals(tree: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(tree)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

fn cut_off(journal: &Path, at: u64) -> io::Result<()> {
    let file = files::open(File::options().write(true), journal)?;
    file.set_len(at)?;
    file.sync_all()
}

struct Reader {
    file: BufReader<File>,
    length: u64,
    at: u64,
    bytes: Vec<u8>,
}

/// A batch that is not whole.
struct Broken;

impl Reader {
    fn open(journal: &Path) -> io::Result<Self> {
        let file = files::read(journal)?;
        Ok(Self {
            length: file.metadata()?.len(),
            file: BufReader::with_capacity(1 << 16, file),
            at: 0,
            bytes: Vec::new(),
        })
    }

    /// Reads the next batch.
    fn next(&mut self) -> io::Result<Result<Batch, End>> {
        let begin = self.at;
        if begin == self.length {
            return Ok(Err(End::Clean));
        }
        let batch = match self.take(1)? {
            Ok([0]) => return Ok(Err(End::Clean)),
            Ok([START]) => self.batch()?,
            _ => Err(Broken),
        };
        Ok(batch.map_err(|Broken| End::Torn { at: begin }))
    }

    fn batch(&mut self) -> io::Result<Result<Batch, Broken>> {
        let (count, sequence) = match self.take(12)? {
            Ok(head) => (little(&head[..4]), little(&head[4..])),
            Err(broken) => return Ok(Err(broken)),
        };
        let (mut sum, mut group) = (Xxh3::new(), None);
        for _ in 0..count {
            let Ok(meta) = self.item(&mut sum)? else {
                return Ok(Err(Broken));
            };
            group = group.or(meta);
        }
        let is_whole = match self.take(13)? {
            Ok(end) => end[0] == END && little(&end[1..9]) == sum.digest() && &end[9..] == TRAILER,
            Err(Broken) => false,
        };
        Ok(if is_whole {
            Ok(Batch { sequence, group })
        } else {
            Err(Broken)
        })
    }

    /// Reads an item, and returns the number of the group if it says so.
    fn item(&mut self, sum: &mut Xxh3) -> io::Result<Result<Option<u64>, Broken>> {
        // The tag, the kind of the value, and how it is compressed.
        let Ok(head) = self.take(3)? else {
            return Ok(Err(Broken));
        };
        if head[0] != ITEM {
            return Ok(Err(Broken));
        }
        sum.update(head);
        let Ok(lengths) = self.take(18)? else {
            return Ok(Err(Broken));
        };
        sum.update(lengths);
        let (key, value) = (little(&lengths[8..10]), little(&lengths[14..18]));
        let Ok(pair) = self.take(key + value)? else {
            return Ok(Err(Broken));
        };
        sum.update(pair);
        let (key, value) = pair.split_at(usize::try_from(key).unwrap_or_default());
        let meta = (key == META).then(|| Meta::decode(value)).flatten();
        Ok(Ok(meta.map(|meta| meta.group)))
    }

    /// Reads so many bytes, if they are there.
    fn take(&mut self, count: u64) -> io::Result<Result<&[u8], Broken>> {
        if count > LONGEST || self.length - self.at < count {
            return Ok(Err(Broken));
        }
        self.bytes
            .resize(usize::try_from(count).unwrap_or_default(), 0);
        self.file.read_exact(&mut self.bytes)?;
        self.at += count;
        Ok(Ok(&self.bytes))
    }
}

fn little(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
