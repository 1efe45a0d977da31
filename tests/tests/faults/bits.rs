//! A bit that is wrong for a while: what refuses the folder changes nothing that is needed, so it
//! opens when the bit is right again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::ledger::{LOG, Ledger};
use crate::shim::Disk;
use crate::{complain, seed};

/// Every file and what is in it, but for the lock, which names its last holder.
fn image(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut image = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            image.extend(self::image(&entry.path()));
        } else if entry.file_name() != "lock" {
            image.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
    image
}

fn flip(file: &Path, bit: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8)
        .unwrap();
}

/// Whether the opening was refused.
async fn one(ledger: &Ledger, file: &Path, bit: u64) -> Result<bool, String> {
    flip(file, bit);
    let before = image(ledger.path());
    let life = Disk::default().live(ledger.path(), &["hold"]);
    let said = match life.lines.first() {
        Some(line) if line == "open" => return Ok(false),
        Some(line) if line.starts_with("closed: ") => line,
        _ => return Err(format!("it says {:?}", life.lines)),
    };
    // What is wrong with a page shows when sled reads it, which is after sled has started. What is
    // wrong with the end of the log shows before.
    let changed = before != image(ledger.path());
    flip(file, bit);
    let unchanged = if changed && said.contains("has lost acknowledged writes") {
        Err(format!("it says {said}, and changed the folder"))
    } else {
        Ok(())
    };
    ledger.check_after(unchanged).await.map(|()| true)
}

/// Flips this many bits, one in each copy of the folder.
async fn each(ledger: &Ledger, file: impl Fn(&Path) -> PathBuf, count: usize) -> usize {
    let mut random = Rng::with_seed(seed());
    let (mut refused, mut wrong) = (0, Vec::new());
    for _ in 0..count {
        let ledger = ledger.copy();
        let file = file(ledger.path());
        // Most of a log is free, and zero.
        let bytes = fs::read(&file).unwrap();
        let written: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let bit = random.choice(written).unwrap() as u64 * 8 + random.u64(..8);
        match one(&ledger, &file, bit).await {
            Ok(is_refused) => refused += usize::from(is_refused),
            Err(complaint) => wrong.push(format!("bit {bit} of {}: {complaint}", file.display())),
        }
    }
    complain(&wrong, count);
    refused
}

fn snapshot(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder.join("sled"))
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .into_iter()
        .find(|file| file.to_string_lossy().contains("/snap."))
        .unwrap()
}

#[tokio::test]
async fn a_wrong_bit_of_the_log_that_is_put_right_again() {
    let killed = each(&Ledger::killed(), |folder| folder.join(LOG), 20).await;
    let closed = each(&Ledger::closed().await, |folder| folder.join(LOG), 20).await;
    assert!(killed + closed > 0, "no bit mattered");
}

#[tokio::test]
async fn a_wrong_bit_of_the_snapshot_that_is_put_right_again() {
    assert!(
        each(&Ledger::killed(), snapshot, 10).await > 0,
        "no bit mattered"
    );
}
