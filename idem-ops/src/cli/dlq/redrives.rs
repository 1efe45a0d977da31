//! `idem dlq redrives` and `cancel`: redrives of many letters.

use std::fmt::Write as _;

use comfy_table::{Cell, Color};
use uuid::Uuid;

use crate::cli::out::{Out, unbroken};
use crate::cli::problem::Problem;
use crate::cli::shown::{line, short};
use crate::cli::target::Target;
use crate::service::{PageQuery, Redrive, RedriveState};

pub(super) async fn list(target: &dyn Target, out: Out) -> Result<(), Problem> {
    let page = target.redrives(&PageQuery::default()).await?;
    out.answer(&page, |out| {
        if page.redrives.is_empty() {
            return "no redrives".to_owned();
        }
        let mut text = table(&page.redrives, out);
        if page.next.is_some() {
            text += "\nthere are older ones";
        }
        text
    })
}

pub(super) async fn cancel(id: Uuid, why: Option<&str>, target: &dyn Target, out: Out) -> Result<(), Problem> {
    let redrive = target.cancel_redrive(id, why).await?;
    out.answer(&redrive, |out| one(&redrive, out))
}

/// One redrive, and what went wrong in it.
pub(super) fn one(redrive: &Redrive, out: Out) -> String {
    let mut text = table(std::slice::from_ref(redrive), out);
    if redrive.problems.is_empty() {
        return text;
    }
    let mut problems = out.table([("Letter", false), ("What went wrong", false)]);
    for problem in &redrive.problems {
        problems.add_row(vec![Cell::new(problem.letter), out.cell(short(&problem.error, 300), Color::Red)]);
    }
    unbroken(&mut problems, 0);
    let _ = write!(text, "\n{problems}");
    let more = redrive.failed.saturating_sub(redrive.problems.len() as u64);
    if more > 0 {
        let _ = write!(text, "\nand {more} more");
    }
    text
}

fn table(redrives: &[Redrive], out: Out) -> String {
    let mut table = out.table([
        ("Redrive", false),
        ("Who", false),
        ("Why", false),
        ("Begun", false),
        ("State", false),
        ("Letters", true),
        ("Done", true),
        ("Failed", true),
        ("Skipped", true),
    ]);
    for redrive in redrives {
        let (state, colour) = match redrive.state {
            RedriveState::Running => ("running", Color::Yellow),
            RedriveState::Finished => ("finished", Color::Green),
            RedriveState::Cancelled => ("cancelled", Color::Red),
        };
        table.add_row(vec![
            Cell::new(redrive.id),
            Cell::new(line(&redrive.who)),
            Cell::new(short(&redrive.asked.why, 60)),
            Cell::new(format!("{:.0}", redrive.at)),
            out.cell(state, colour),
            Cell::new(redrive.total),
            Cell::new(redrive.done),
            Cell::new(redrive.failed),
            Cell::new(redrive.skipped),
        ]);
    }
    unbroken(&mut table, 0);
    table.to_string()
}
