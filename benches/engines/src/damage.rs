//! What an engine notices: flipped bits of a closed folder, and reads that fail while it opens.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use idem_benches::report::Row;

use crate::engine::{Engine, Fjall, Redb, Sled};
use crate::work::{CACHE, fill, is_whole};

const MESSAGES: u64 = 20_000;
const FLIPS: u64 = 200;
const FAILED_READS: u64 = 40;

/// How a folder was found.
const WHOLE: i32 = 0;
const REFUSED: i32 = 2;
const WRONG: i32 = 3;

pub fn make<E: Engine>(folder: &Path) {
    let mut engine = E::open(folder, CACHE).unwrap();
    fill(&mut engine, 0..MESSAGES, 64).unwrap();
}

pub fn check<E: Engine>(folder: &Path) {
    let found = E::open(folder, CACHE).and_then(|engine| is_whole(&engine, MESSAGES));
    std::process::exit(match found {
        Ok(true) => WHOLE,
        Ok(false) => WRONG,
        Err(_) => REFUSED,
    });
}

/// A child of this bench, which may be killed by what it finds.
fn found(command: &mut Command, engine: &str, folder: &Path) -> i32 {
    let child = command
        .args(["check", engine])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // A panic is not silent.
    child.status().unwrap().code().unwrap_or(REFUSED)
}

fn this() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

pub fn run() {
    for name in [Sled::NAME, Fjall::NAME, Redb::NAME] {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        let made = this().args(["make", name]).arg(&whole).status().unwrap();
        assert!(made.success(), "{name} is made");
        assert_eq!(found(&mut this(), name, &whole), WHOLE, "{name} is whole");
        flips(name, &whole, &folder.path().join("flipped"));
        failed_reads(name, &whole, &folder.path().join("unread"));
    }
}

fn flips(name: &str, whole: &Path, copy: &Path) {
    let mut random = fastrand::Rng::with_seed(20);
    let (mut noticed, mut wrong) = (0, 0);
    for _ in 0..FLIPS {
        copied(whole, copy);
        flip(copy, &mut random);
        match found(&mut this(), name, copy) {
            WHOLE => {}
            WRONG => wrong += 1,
            _ => noticed += 1,
        }
    }
    Row {
        bench: format!(
            "flipped bits unnoticed, of {} that changed something, {name}",
            noticed + wrong
        ),
        unit: "",
        ours: f64::from(wrong),
        beside: None,
        to_reach: "0",
    }
    .print();
}

fn failed_reads(name: &str, whole: &Path, copy: &Path) {
    let mut harmed = 0;
    for read in 1..=FAILED_READS {
        copied(whole, copy);
        let mut strace = Command::new("strace");
        let inject = format!("inject=pread64,read:error=EIO:when={read}");
        strace
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &inject])
            // Not those that load the program.
            .args(["-P", &copy.display().to_string()]);
        for file in files(copy) {
            strace.arg("-P").arg(file);
        }
        strace.arg(std::env::current_exe().unwrap());
        found(&mut strace, name, copy);
        harmed += i32::from(found(&mut this(), name, copy) != WHOLE);
    }
    Row {
        bench: format!("folders harmed by a failed read at opening, of {FAILED_READS}, {name}"),
        unit: "",
        ours: f64::from(harmed),
        beside: None,
        to_reach: "0",
    }
    .print();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let files = entries.flat_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    });
    files.collect()
}

fn copied(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    for file in files(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(file, copy).unwrap();
    }
}

/// Flips one bit of what is written in the folder, each with the same chance.
fn flip(folder: &Path, random: &mut fastrand::Rng) {
    let mut files = files(folder);
    files.sort_unstable();
    let sizes: Vec<_> = files
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .collect();
    loop {
        let mut at = random.u64(0..sizes.iter().sum());
        let file = sizes.iter().position(|size| {
            let is_here = at < *size;
            at -= if is_here { 0 } else { *size };
            is_here
        });
        let file = &files[file.unwrap()];
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(file)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        // Room that is kept for later is mostly zeros.
        if byte[0] != 0 {
            byte[0] ^= 1 << random.u8(0..8);
            file.write_all_at(&byte, at).unwrap();
            return;
        }
    }
}
