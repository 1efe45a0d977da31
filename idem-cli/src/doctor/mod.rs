//! `idem doctor`: whether the ledger is healthy, the findings, and their remedies.

mod disk;
mod folder;
mod letters;
mod postgres;
mod promises;
mod redis;
mod service;
mod shared;
mod unfinished;

use std::fmt::Write as _;

use comfy_table::{Cell, Color};
use serde::Serialize;

use super::args::Place;
use super::format::{line, lines};
use super::out::Out;
use super::problem::{Exit, Problem};
use super::target::Location;

/// The result of an examination.
#[derive(Debug, Serialize)]
struct Checkup {
    /// The address, the folder or the shared ledger.
    place: String,
    /// Whether nothing is wrong.
    healthy: bool,
    /// The checks that passed.
    well: Vec<String>,
    /// What holds with these settings, whatever crashes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    promised: Vec<String>,
    /// The findings, the worst first.
    findings: Vec<Finding>,
    /// The exit code; 3 where the place could not be examined.
    #[serde(skip)]
    exit: Exit,
}

/// A problem and its remedy.
#[derive(Debug, Serialize)]
struct Finding {
    /// A word for programs.
    kind: Kind,
    /// What is wrong.
    what: String,
    /// What to do.
    fix: String,
}

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    NotALedger,
    NotOurs,
    Held,
    NotWritable,
    Full,
    NearlyFull,
    Behind,
    Damaged,
    NoWitness,
    OddFile,
    Unreadable,
    Unreachable,
    Refused,
    Down,
    OpenLetters,
    UntoldLetters,
    FailingChannel,
    UnsettledRedrives,
    UnfinishedRedrives,
    Standby,
    NotDurable,
    TornPages,
    NoStandby,
    OldSchema,
    NewerSchema,
    UnfinishedMigration,
    MissingGrants,
    FewConnections,
    NoAutovacuum,
    OldTransaction,
    DeadRows,
    Bloated,
    ColdUpdates,
    SweepBehind,
    ClockApart,
    ClockSetBack,
    Evicts,
    Lost,
}

impl Checkup {
    fn of(place: String) -> Self {
        Self {
            place,
            healthy: true,
            well: Vec::new(),
            promised: Vec::new(),
            findings: Vec::new(),
            exit: Exit::Done,
        }
    }

    fn well(&mut self, what: impl Into<String>) {
        self.well.push(what.into());
    }

    fn promised(&mut self, what: impl Into<String>) {
        self.promised.push(what.into());
    }

    fn wrong(&mut self, kind: Kind, what: impl Into<String>, fix: impl Into<String>) {
        self.healthy = false;
        self.findings.push(Finding {
            kind,
            what: what.into(),
            fix: fix.into(),
        });
        if self.exit == Exit::Done {
            self.exit = Exit::Failed;
        }
    }

    /// Adds a finding that keeps the place from being examined.
    fn closed(&mut self, kind: Kind, what: impl Into<String>, fix: impl Into<String>) {
        self.wrong(kind, what, fix);
        self.exit = Exit::Unreachable;
    }

    /// Adds a question that was not answered: what to do if nothing answers, and what else.
    fn failed(&mut self, problem: Problem, unreachable: &str, otherwise: (Kind, &str)) {
        match problem {
            Problem::Told(Exit::Unreachable, text) => {
                self.closed(Kind::Unreachable, text, unreachable);
            }
            Problem::Told(_, text) => self.wrong(otherwise.0, text, otherwise.1),
            Problem::Said(_) | Problem::ReaderGone => {}
        }
    }
}

pub(crate) async fn run(at: Location, place: &Place, out: Out) -> Result<(), Problem> {
    let checkup = match at {
        Location::Service(url) => service::examine(url, place).await?,
        Location::Folder(path) => folder::examine(&path, place).await,
        Location::Shared(url) => shared::examine(url, place).await?,
    };
    out.answer(&checkup, |out| page(&checkup, out))?;
    match checkup.exit {
        Exit::Done => Ok(()),
        exit => Err(Problem::Said(exit)),
    }
}

fn page(checkup: &Checkup, out: Out) -> String {
    let mut text = String::new();
    if !checkup.findings.is_empty() {
        let mut table = out.table([("What is wrong", false), ("What to do", false)]);
        for Finding { what, fix, .. } in &checkup.findings {
            table.add_row(vec![
                out.cell(lines(what), Color::Red),
                Cell::new(lines(fix)),
            ]);
        }
        let _ = writeln!(text, "{table}");
    }
    for well in &checkup.well {
        let _ = writeln!(text, "ok: {}", line(well));
    }
    for promised in &checkup.promised {
        let _ = writeln!(text, "promised: {}", line(promised));
    }
    let place = line(&checkup.place);
    let _ = match checkup.findings.len() {
        0 => writeln!(text, "{place} is healthy"),
        1 => writeln!(text, "{place}: 1 finding"),
        findings => writeln!(text, "{place}: {findings} findings"),
    };
    text
}
