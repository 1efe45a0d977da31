//! One thing done to many letters: begun and looked on at, and `idem dlq bulk` and `cancel`.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Cell, Color};
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

use crate::cli::out;
use crate::cli::out::{Out, unbroken};
use crate::cli::problem::{Exit, Problem};
use crate::cli::progress::bar;
use crate::cli::shown::{line, short};
use crate::cli::target::Target;
use crate::service::{BulkAction, BulkJob, BulkState, NewBulkJob, PageQuery};

/// How often the progress is asked for.
const GLANCE: Duration = Duration::from_millis(200);

/// Whether the rest may be left to the place that is asked.
///
/// # Errors
/// Exit code 2 where that is a folder.
pub(super) fn may_leave(no_wait: bool, target: &dyn Target) -> Result<(), Problem> {
    if no_wait && !target.runs() {
        return Err(Problem::usage(
            "`--no-wait` is for a service, which goes on by itself; a folder does not",
        ));
    }
    Ok(())
}

/// Begins it, and waits for its end unless told not to.
///
/// # Errors
/// Exit code 1 when not all of it was done.
pub(super) async fn run(
    asked: NewBulkJob,
    no_wait: bool,
    target: &dyn Target,
    out: Out,
) -> Result<(), Problem> {
    // From here on an interrupt stops the work, and not only the looking on.
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|error| Problem::failed(format!("interrupts cannot be waited for: {error}")))?;
    let begun = target.start_bulk(asked).await?;
    if no_wait {
        return out.answer(&begun, |_| {
            format!("{} {} goes on: `idem dlq bulk`", noun(&begun), begun.id)
        });
    }
    let ended = watched(begun, &mut interrupts, target).await?;
    out.answer(&ended, |out| one(&ended, target.runs(), out))?;
    let done = ended.state == BulkState::Finished && ended.failed == 0;
    if done {
        Ok(())
    } else {
        Err(Problem::Said(Exit::Failed))
    }
}

/// Waits for the end, and shows how far it is.
async fn watched(
    mut bulk: BulkJob,
    interrupts: &mut Signal,
    target: &dyn Target,
) -> Result<BulkJob, Problem> {
    let discards = bulk.asked.action == BulkAction::Discard;
    let progress = bar(
        bulk.total,
        if discards { "Discarding" } else { "Redriving" },
    );
    while bulk.state == BulkState::Running {
        let had_its_turn = bulk.done + bulk.failed + bulk.skipped;
        progress.set_length(bulk.total.max(had_its_turn));
        progress.set_position(had_its_turn);
        bulk = tokio::select! {
            Some(()) = interrupts.recv() => {
                out::note("stopping it; what was done by now stays done");
                target.cancel_bulk(bulk.id, Some("interrupted")).await?
            }
            () = tokio::time::sleep(GLANCE) => target.bulk(bulk.id).await.map_err(|problem| lost(problem, &bulk))?,
        };
    }
    progress.finish_and_clear();
    Ok(bulk)
}

/// That the service cannot be asked does not mean that it stopped.
fn lost(problem: Problem, bulk: &BulkJob) -> Problem {
    match problem {
        Problem::Told(exit, text) => Problem::Told(
            exit,
            format!(
                "{text}; {} {} may go on: `idem dlq bulk`",
                noun(bulk),
                bulk.id
            ),
        ),
        other => other,
    }
}

fn noun(bulk: &BulkJob) -> &'static str {
    match bulk.asked.action {
        BulkAction::Rearm => "re-arming",
        BulkAction::Run => "run",
        BulkAction::Publish => "publishing",
        BulkAction::Discard => "discard",
    }
}

pub(super) async fn list(target: &dyn Target, out: Out) -> Result<(), Problem> {
    let page = target.bulks(&PageQuery::default()).await?;
    out.answer(&page, |out| {
        if page.bulks.is_empty() {
            return "no redrive or discard of many letters".to_owned();
        }
        let mut text = table(&page.bulks, target.runs(), out);
        if page.next.is_some() {
            text += "\nthere are older ones";
        }
        text
    })
}

pub(super) async fn cancel(
    id: Uuid,
    why: Option<&str>,
    target: &dyn Target,
    out: Out,
) -> Result<(), Problem> {
    let bulk = target.cancel_bulk(id, why).await?;
    out.answer(&bulk, |out| one(&bulk, target.runs(), out))
}

/// One of them, and what went wrong in it.
fn one(bulk: &BulkJob, runs: bool, out: Out) -> String {
    let mut text = table(std::slice::from_ref(bulk), runs, out);
    if bulk.problems.is_empty() {
        return text;
    }
    let mut problems = out.table([("Letter", false), ("What went wrong", false)]);
    for problem in &bulk.problems {
        problems.add_row(vec![
            Cell::new(problem.letter),
            out.cell(short(&problem.error, 300), Color::Red),
        ]);
    }
    unbroken(&mut problems, 0);
    let _ = write!(text, "\n{problems}");
    let more = bulk.failed.saturating_sub(bulk.problems.len() as u64);
    if more > 0 {
        let _ = write!(text, "\nand {more} more");
    }
    text
}

fn table(bulks: &[BulkJob], runs: bool, out: Out) -> String {
    let mut table = out.table([
        ("Id", false),
        ("What", false),
        ("Who", false),
        ("Why", false),
        ("Begun", false),
        ("State", false),
        ("Letters", true),
        ("Done", true),
        ("Failed", true),
        ("Skipped", true),
    ]);
    for bulk in bulks {
        let (state, colour) = match bulk.state {
            BulkState::Running if runs => ("running", Color::Yellow),
            // A folder goes on with nothing by itself.
            BulkState::Running => ("unfinished", Color::Yellow),
            BulkState::Finished => ("finished", Color::Green),
            BulkState::Cancelled => ("cancelled", Color::Red),
        };
        table.add_row(vec![
            Cell::new(bulk.id),
            Cell::new(noun(bulk)),
            Cell::new(line(&bulk.who)),
            Cell::new(short(&bulk.asked.why, 60)),
            Cell::new(format!("{:.0}", bulk.at)),
            out.cell(state, colour),
            Cell::new(if bulk.at_least {
                format!("{} or more", bulk.total)
            } else {
                bulk.total.to_string()
            }),
            Cell::new(bulk.done),
            Cell::new(bulk.failed),
            Cell::new(bulk.skipped),
        ]);
    }
    unbroken(&mut table, 0);
    table.to_string()
}
