//! The room on the disk.

use std::path::Path;

use indicatif::BinaryBytes;

use super::{Checkup, Kind};

/// The size of a disk and the room on it.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// Bytes in all.
    size: u64,
    /// Bytes that this user may still write.
    left: u64,
    /// File names in all; 0 where the file system has no limit.
    names: u64,
    /// File names that may still be given.
    names_left: u64,
}

const MIB: u64 = 1 << 20;
/// With less than this left, any disk is nearly full: sled writes new segments and snapshots before
/// it removes old ones.
const LITTLE: u64 = 64 * MIB;
/// With more than this left, a small share of a large disk is not a finding.
const PLENTY: u64 = 4096 * MIB;

pub(super) fn look(path: &Path, checkup: &mut Checkup) {
    let Ok(found) = rustix::fs::statvfs(path) else {
        // Opening the folder says what is wrong with it.
        return;
    };
    let room = Room {
        size: found.f_blocks.saturating_mul(found.f_frsize),
        left: found.f_bavail.saturating_mul(found.f_frsize),
        names: found.f_files,
        names_left: found.f_favail,
    };
    match room.scarce() {
        Some(what) => checkup.wrong(
            Kind::NearlyFull,
            format!("the disk of `{}` is nearly full: {what}", path.display()),
            "free some space: when it is full, calls fail and nothing is recorded until there is room",
        ),
        None => checkup.well(format!("{} are left on the disk", BinaryBytes(room.left))),
    }
}

impl Room {
    fn scarce(self) -> Option<String> {
        let Self {
            size,
            left,
            names,
            names_left,
        } = self;
        if left < LITTLE || (left < size / 20 && left < PLENTY) {
            return Some(format!(
                "{} of {} are left",
                BinaryBytes(left),
                BinaryBytes(size)
            ));
        }
        (names > 0 && names_left < names / 100)
            .then(|| format!("{names_left} of {names} file names are left"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_nearly_full_by_what_is_left_and_by_its_share() {
        let disk = |size, left| {
            Room {
                size: size * MIB,
                left: left * MIB,
                names: 1000,
                names_left: 500,
            }
            .scarce()
        };
        assert_eq!(
            disk(100, 63).as_deref(),
            Some("63.00 MiB of 100.00 MiB are left")
        );
        assert_eq!(disk(1000, 65), None, "6.5 %");
        assert!(disk(10_000, 400).is_some(), "4 %");
        assert_eq!(disk(1_000_000, 5000), None, "half a percent, and plenty");
        assert!(disk(1_000_000, 4000).is_some());
    }

    #[test]
    fn file_names_run_out_too() {
        let disk = |names, names_left| {
            Room {
                size: 1 << 40,
                left: 1 << 39,
                names,
                names_left,
            }
            .scarce()
        };
        assert_eq!(
            disk(1000, 9).as_deref(),
            Some("9 of 1000 file names are left")
        );
        assert_eq!(disk(1000, 10), None);
        assert_eq!(disk(0, 0), None, "a file system without a limit says 0");
    }
}
