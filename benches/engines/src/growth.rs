//! What many records cost: disk, memory, speed and opening. Each is a child's, which is killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use idem_benches::report::Row;
use idem_benches::usage::{disk, resident};

use crate::engine::{Engine, Fjall, Redb, Sled};
use crate::work::{CACHE, claim, completion, fill, removal};

const GROUP: usize = 64;
const LIVE: u64 = 200_000;
const TURNS: u64 = 5;
const SMALL: u64 = 10_000;
const LARGE: u64 = 5_000_000;
const TIMED: u64 = 40_000;

/// Runs a child until it has said so much, and kills it.
fn child(part: &str, engine: &str, folder: &Path, figures: usize) -> Vec<f64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([part, engine])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines
        .take(figures)
        .map(|line| line.unwrap().parse().unwrap());
    let said = said.collect();
    child.kill().unwrap();
    child.wait().unwrap();
    said
}

fn say(figure: f64) {
    println!("{figure}");
    std::io::stdout().flush().unwrap();
}

fn wait() -> ! {
    loop {
        std::thread::park();
    }
}

fn row(
    bench: String,
    unit: &'static str,
    ours: f64,
    beside: Option<(&'static str, f64)>,
    to_reach: &'static str,
) {
    Row {
        bench,
        unit,
        ours,
        beside,
        to_reach,
    }
    .print();
}

pub fn turnovers() {
    let of = |engine: &str| {
        let folder = tempfile::tempdir().unwrap();
        child("turnover", engine, &folder.path().join("db"), 2)
    };
    let [[sled, sled_rate], [fjall, fjall_rate], [redb, redb_rate]] =
        [Sled::NAME, Fjall::NAME, Redb::NAME].map(|name| of(name).try_into().unwrap());
    for (name, bytes, rate) in [("fjall", fjall, fjall_rate), ("redb", redb, redb_rate)] {
        row(
            format!("disk a live record in turnover, {name}"),
            "bytes",
            bytes,
            Some(("sled", sled)),
            "≤ 376 bytes: 4 × 94",
        );
        row(
            format!("messages in turnover, groups of {GROUP}, {name}"),
            "messages/s",
            rate,
            Some(("sled", sled_rate)),
            "",
        );
    }
}

/// Bytes a live record, when each of five times as many has come and gone.
pub fn turnover<E: Engine>(folder: &Path) {
    let mut engine = E::open(folder, CACHE).unwrap();
    let start = Instant::now();
    for first in (0..TURNS * LIVE).step_by(GROUP) {
        let group = first..first + GROUP as u64;
        engine.write(&mut group.clone().map(claim)).unwrap();
        let expired = group.clone().filter_map(|number| number.checked_sub(LIVE));
        let ends = group.flat_map(completion).chain(expired.flat_map(removal));
        engine.write(&mut { ends }).unwrap();
    }
    let took = start.elapsed().as_secs_f64();
    say(disk(folder).unwrap() as f64 / LIVE as f64);
    say((TURNS * LIVE) as f64 / took);
    wait();
}

pub fn run() {
    for name in [Sled::NAME, Fjall::NAME, Redb::NAME] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("db");
        let [small, large, resident, size] = child("grow", name, &folder, 4).try_into().unwrap();
        row(
            format!("messages at {LARGE} records, {name}"),
            "messages/s",
            large,
            Some(("itself at 10000", small)),
            "≥ 0.8",
        );
        row(
            format!("memory at {LARGE} records, {name}"),
            "MiB",
            resident,
            None,
            "≤ 250",
        );
        row(
            format!("disk a record at {LARGE} records, {name}"),
            "bytes",
            size,
            None,
            "",
        );
        let opened = child("open", name, &folder, 1)[0];
        row(
            format!("opening {LARGE} records after kill -9, {name}"),
            "s",
            opened,
            None,
            "≤ 2",
        );
    }
}

pub fn grow<E: Engine>(folder: &Path) {
    let mut engine = E::open(folder, CACHE).unwrap();
    let mut filled = 0;
    for size in [SMALL, LARGE] {
        fill(&mut engine, filled..size, 512).unwrap();
        let start = Instant::now();
        fill(&mut engine, size..size + TIMED, GROUP).unwrap();
        filled = size + TIMED;
        say(TIMED as f64 / start.elapsed().as_secs_f64());
    }
    say(resident());
    say(disk(folder).unwrap() as f64 / filled as f64);
    wait();
}

pub fn open<E: Engine>(folder: &Path) {
    let start = Instant::now();
    let engine = E::open(folder, CACHE).unwrap();
    say(start.elapsed().as_secs_f64());
    drop(engine);
}
