//! An action on many letters: starting and watching it, and `idem dlq bulk` and `cancel`.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Cell, Color};
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

use crate::format::{line, short};
use crate::out;
use crate::out::{Out, unbroken};
use crate::problem::{Exit, Problem};
use crate::progress::bar;
use crate::target::Target;
use idem_ops::service::{BulkAction, BulkJob, BulkState, NewBulkJob, PageQuery};

/// The time between two looks at the progress.
const POLL: Duration = Duration::from_millis(200);

/// Checks that the place goes on without this command.
///
/// # Errors
/// Exit code 2 where that is no service.
pub(super) fn may_leave(no_wait: bool, target: &Target) -> Result<(), Problem> {
    if no_wait && !target.runs() {
        return Err(Problem::usage(
            "`--no-wait` is for a service (`--url`), which goes on by itself; this program ends",
        ));
    }
    Ok(())
}

/// Starts it, and waits for its end unless told not to.
///
/// # Errors
/// Exit code 1 when it did not succeed for all letters.
pub(super) async fn run(
    asked: NewBulkJob,
    no_wait: bool,
    target: &Target,
    out: Out,
) -> Result<(), Problem> {
    // From here on an interrupt stops the action, and not only this command.
    let mut interrupts = signal(SignalKind::interrupt())
        .map_err(|error| Problem::failed(format!("interrupts cannot be handled: {error}")))?;
    let begun = target.start_bulk(asked).await?;
    if no_wait {
        return out.answer(&begun, |_| {
            format!(
                "{} {} goes on, {}: `idem dlq bulk`",
                noun(&begun),
                begun.id,
                left(&begun)
            )
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

/// Waits for the end, and shows the progress.
async fn watched(
    mut bulk: BulkJob,
    interrupts: &mut Signal,
    target: &Target,
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
                out::note("stopping it; finished letters stay as they are");
                target.cancel_bulk(bulk.id, Some("interrupted")).await?
            }
            () = tokio::time::sleep(POLL) => target.bulk(bulk.id).await.map_err(|problem| lost(problem, &bulk))?,
        };
    }
    progress.finish_and_clear();
    Ok(bulk)
}

/// Adds that the action may go on though the service cannot be reached.
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

/// Returns how long it still takes, in words.
fn left(bulk: &BulkJob) -> String {
    bulk.left().map(|left| left.to_string()).unwrap_or_default()
}

fn noun(bulk: &BulkJob) -> &'static str {
    match bulk.asked.action {
        BulkAction::Rearm => "re-arming",
        BulkAction::Run => "run",
        BulkAction::Publish => "publishing",
        BulkAction::Discard => "discard",
    }
}

pub(super) async fn list(target: &Target, out: Out) -> Result<(), Problem> {
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
    target: &Target,
    out: Out,
) -> Result<(), Problem> {
    let bulk = target.cancel_bulk(id, why).await?;
    out.answer(&bulk, |out| one(&bulk, target.runs(), out))
}

/// Returns one of them, with its problems.
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
        ("Left", false),
    ]);
    for bulk in bulks {
        let (state, colour) = match bulk.state {
            BulkState::Running if runs => ("running", Color::Yellow),
            // Without a service nothing goes on by itself.
            BulkState::Running => ("unfinished", Color::Yellow),
            BulkState::Finished => ("finished", Color::Green),
            BulkState::Cancelled => ("cancelled", Color::Red),
            _ => ("unknown", Color::Yellow),
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
            Cell::new(if runs { left(bulk) } else { String::new() }),
        ]);
    }
    unbroken(&mut table, 0);
    table.to_string()
}
