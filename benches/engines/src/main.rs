//! What the embedded ledger could stand on: sled, which it does, beside fjall and redb, on its own work.
//! `cargo xtask bench --engines` runs it, and `docs/decisions.md` has the figures.
//!
//! - Messages a second, each two durable writes in groups of the callers' number.
//! - Bytes on the disk for a live record, of which five times as many have come and gone.
//! - Growth to 5,000,000 records: messages a second, memory, and opening after `kill -9`.
//! - Damage: one bit of a closed folder is flipped, and all of it is read. What is neither right nor an
//!   error has gone unnoticed.
//! - Reads that fail while it opens (`strace` lets them): is everything there afterwards?

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot run measures nothing"
)]

mod damage;
mod engine;
mod growth;
mod throughput;
mod work;

use std::path::Path;

use crate::engine::{Engine, Fjall, Redb, Sled};

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let given: Vec<_> = given.iter().map(String::as_str).collect();
    match given.as_slice() {
        // A child of this bench.
        [part, engine, folder] => {
            let child = Child {
                part,
                folder: Path::new(folder),
            };
            match *engine {
                Sled::NAME => child.with::<Sled>(),
                Fjall::NAME => child.with::<Fjall>(),
                _ => child.with::<Redb>(),
            }
        }
        parts => {
            let is_wanted = |part| parts.is_empty() || parts.contains(&part);
            for (part, run) in [
                ("throughput", throughput::run as fn()),
                ("turnover", growth::turnovers),
                ("growth", growth::run),
                ("damage", damage::run),
            ] {
                if is_wanted(part) {
                    run();
                }
            }
        }
    }
}

struct Child<'a> {
    part: &'a str,
    folder: &'a Path,
}

impl Child<'_> {
    fn with<E: Engine>(&self) {
        match self.part {
            "turnover" => growth::turnover::<E>(self.folder),
            "grow" => growth::grow::<E>(self.folder),
            "open" => growth::open::<E>(self.folder),
            "make" => damage::make::<E>(self.folder),
            _ => damage::check::<E>(self.folder),
        }
    }
}
