//! What a disk may hold after a power cut: some, all or none of the writes since the last sync,
//! whole or torn.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::image::{Content, Image, LOG, NEW_WITNESS, SECTOR, WITNESS};
use crate::known::Knowledge;

/// How sled divides its log.
pub(crate) const SEGMENT: usize = 512 << 10;

/// A moment at which the power is cut.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    pub(crate) what: &'static str,
    /// What is certainly on the disk.
    pub(crate) synced: Image,
    /// What was written by then.
    pub(crate) written: Image,
    /// The group that the witness named when it was last synced.
    pub(crate) witness: u64,
    /// What was known outside.
    pub(crate) known: Knowledge,
}

/// Returns one of the images that a cut may leave, and how it was made.
pub(crate) fn leave(cut: &Cut, random: &mut Rng) -> (Image, String) {
    let (mut image, mut how) = (cut.synced.clone(), cut.what.to_owned());
    if cut.what == RECOVERING {
        return recovering(cut, random);
    }
    let log = mix(&cut.synced.log(), &cut.written.log(), random, &mut how);
    let names: BTreeSet<&PathBuf> = cut.synced.0.keys().chain(cut.written.0.keys()).collect();
    for name in names {
        let (synced, written) = (cut.synced.0.get(name), cut.written.0.get(name));
        if name == Path::new(WITNESS) {
            image.set(name, witness(cut, random, &mut how));
        } else if name != Path::new(LOG) && synced != written {
            let content = either(synced, written, random);
            let len = content.as_ref().map(|content| content.len);
            let _ = write!(how, "; {} has {len:?} bytes", name.display());
            image.set(name, content);
        }
    }
    if cut.synced.0.contains_key(Path::new(LOG)) || log.len > 0 || random.bool() {
        image.set(LOG, Some(log));
    }
    (image, how)
}

/// Returns a file that was not synced: as it was, as it is, or in between.
fn either(
    synced: Option<&Content>,
    written: Option<&Content>,
    random: &mut Rng,
) -> Option<Content> {
    match (random.u8(..6), written) {
        (0..2, _) | (2.., None) => synced.cloned(),
        (2..4, Some(written)) => Some(written.clone()),
        (4, Some(written)) => Some(Content::of(
            &written.bytes()[..random.usize(..=written.len)],
        )),
        (_, Some(written)) => Some(Content::of(&vec![0; written.len])),
    }
}

/// The name of cuts while sled recovers.
pub(crate) const RECOVERING: &str = "sled recovering";

/// A new snapshot is written and synced, and put in place of the old one; then the last segment has
/// another's header until sled has started, which overwrites the segments that are free. Nothing of
/// that is synced before the ledger does.
fn recovering(cut: &Cut, random: &mut Rng) -> (Image, String) {
    let is_snapshot = |name: &&PathBuf| name.to_string_lossy().contains("snap.");
    let (mut image, mut how) = (cut.synced.clone(), cut.what.to_owned());
    let new: Vec<&PathBuf> = cut.written.0.keys().filter(is_snapshot).collect();
    image.set(WITNESS, witness(cut, random, &mut how));
    if random.bool() {
        let _ = write!(how, "; the new snapshot in place");
        if random.bool() {
            cut.synced
                .0
                .keys()
                .filter(is_snapshot)
                .for_each(|name| image.set(name, None));
        }
        new.into_iter()
            .for_each(|name| image.set(name, cut.written.0.get(name).cloned()));
        let mut log = mix(&cut.synced.log(), &cut.written.log(), random, &mut how);
        // While sled starts, the segment it goes on in has the header of another.
        let written = cut.written.log();
        let last = last_segment(&written).filter(|last| *last > 0 && random.bool());
        if let Some(last) = last {
            how += "; the last segment has the header of the first";
            log.write(last * SEGMENT / SECTOR, &written.sector(0)[..20]);
        }
        image.set(LOG, Some(log));
        return (image, how);
    }
    for name in new {
        let content = either(None, cut.written.0.get(name), random);
        let _ = write!(
            how,
            "; {} with {:?} bytes",
            name.display(),
            content.as_ref().map(|content| content.len)
        );
        image.set(format!("{}.generating", name.display()), content);
    }
    (image, how)
}

/// Where the newest segment is.
pub(crate) fn last_segment(log: &Content) -> Option<usize> {
    let number = |segment: usize| {
        let bytes = log.sector(segment * SEGMENT / SECTOR)[4..12]
            .try_into()
            .expect("eight bytes");
        i64::from_le_bytes(bytes) ^ i64::MAX
    };
    (0..log.len.div_ceil(SEGMENT))
        .filter(|at| number(*at) < 1 << 50)
        .max_by_key(|at| number(*at))
}

/// The witness is overwritten in place within one sector, and synced only when the ledger opens, as
/// a new file.
fn witness(cut: &Cut, random: &mut Rng, how: &mut String) -> Option<Content> {
    let group = |content: &Content| {
        String::from_utf8(content.bytes())
            .ok()?
            .get(6..26)?
            .parse::<u64>()
            .ok()
    };
    let (synced, written) = (
        cut.synced.0.get(Path::new(WITNESS)),
        cut.written.0.get(Path::new(WITNESS)),
    );
    // A new file that was synced before it had its name is there whole, or not at all.
    if written.is_some() && cut.synced.0.get(Path::new(NEW_WITNESS)) == written {
        return if random.bool() { written } else { synced }.cloned();
    }
    let (Some(_), Some(last)) = (synced, written.and_then(group)) else {
        return either(synced, written, random);
    };
    let lag = match random.u8(..3) {
        0 => 0,
        1 => random.u64(..=(last - cut.witness).min(3)),
        _ => random.u64(..=last - cut.witness),
    };
    let _ = write!(how, "; the witness is {lag} behind");
    Some(Content::of(
        format!("group {:020}\n", last - lag).as_bytes(),
    ))
}

/// A log of which the synced part is certain, and of the rest some of the writes.
pub(crate) fn mix(
    synced: &Content,
    written: &Content,
    random: &mut Rng,
    how: &mut String,
) -> Content {
    let sectors = synced.sectors().max(written.sectors());
    let changed: Vec<usize> = (0..sectors)
        .filter(|at| synced.sector(*at) != written.sector(*at))
        .collect();
    // Disks keep sectors, file systems keep pages, and drives reorder in larger pieces.
    let unit = [1, 8, 64][random.usize(..3)];
    let mut units: Vec<usize> = changed.iter().map(|sector| sector / unit).collect();
    units.dedup();
    let count = units.len();
    let place = random.usize(..=count);
    let one = random.usize(..count.max(1));
    let share = random.f64();
    let way = random.u8(..11);
    // sled writes up to a segment at once, and what it says at a segment's beginning is believed
    // when it recovers.
    let segment = |index: usize| units[index] * unit * SECTOR / SEGMENT;
    let begins = |index: usize| (units[index] * unit * SECTOR).is_multiple_of(SEGMENT);
    let chosen: BTreeSet<usize> = (0..count).map(segment).filter(|_| random.bool()).collect();
    let beginnings: Vec<usize> = (0..count).filter(|index| begins(*index)).collect();
    let beginning = random.choice(&beginnings).copied();
    let mut kept: Vec<bool> = (0..count)
        .map(|index| match way {
            0 => false,
            1 => true,
            2 => index < place,
            3 => index >= place,
            4 => index == one,
            5 => index != one,
            6 => chosen.contains(&segment(index)),
            7 => chosen.contains(&segment(index)) && begins(index),
            8 => beginning == Some(index),
            _ => random.f64() < share,
        })
        .collect();
    // The file may have got its length and not its content.
    let mut log = synced.clone();
    let longest = synced.len.max(written.len);
    let len = match random.u8(..4) {
        0 => synced.len.min(written.len) + random.usize(..=longest - synced.len.min(written.len)),
        1 => synced.len,
        _ => written.len,
    };
    log.set_len(longest);
    let torn = (random.u8(..4) == 0 && count > 0).then(|| random.usize(..count));
    if let Some(torn) = torn {
        kept[torn] = true;
    }
    for sector in &changed {
        let index = units.binary_search(&(sector / unit)).unwrap();
        if kept[index] {
            let end = if torn == Some(index) {
                random.usize(..=SECTOR)
            } else {
                SECTOR
            };
            log.write(*sector, &written.sector(*sector)[..end]);
        }
    }
    log.set_len(len.max(synced.len.min(written.len)));
    let kept = kept.iter().filter(|kept| **kept).count();
    let _ = write!(
        how,
        "; {kept} of {count} unsynced pieces of {} bytes kept in way {way}, torn {torn:?}, the log is {} bytes ({} synced, {} written)",
        unit * SECTOR,
        log.len,
        synced.len,
        written.len,
    );
    log
}

impl Cut {
    /// Whether segments of the log that held something else before are among what was written.
    pub(crate) fn rewrites_a_segment(&self) -> bool {
        let (synced, written) = (self.synced.log(), self.written.log());
        let header =
            |log: &Content, segment: usize| log.sector(segment * SEGMENT / SECTOR)[..20].to_vec();
        (0..synced.len.min(written.len) / SEGMENT)
            .any(|at| header(&synced, at) != header(&written, at))
    }
}
