//! `idem dlq redrive`: messages run again.

use std::time::Duration;

use idem_runtime::LetterState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::choose::Choice;
use super::redrives;
use crate::cli::args;
use crate::cli::out::Out;
use crate::cli::problem::{Exit, Problem};
use crate::cli::progress::bar;
use crate::cli::target::Target;
use crate::cli::{ask, editor, out, shown};
use crate::service::{LetterView, NewRedrive, Redrive, RedriveState, Redriven, RunOutcome};

/// How often the progress is asked for.
const GLANCE: Duration = Duration::from_millis(200);

pub(super) async fn run(asked: args::Redrive, target: &dyn Target, out: Out) -> Result<(), Problem> {
    let args::Redrive { selection, rate, rearm, payload, no_wait, why, yes } = asked;
    if no_wait && !target.runs() {
        return Err(Problem::usage("`--no-wait` is for a service, which goes on by itself; a folder does not"));
    }
    let run = target.runs() && !rearm;
    let choice = Choice::from(selection);
    let single = choice.single();
    let payload = match (payload, single) {
        (None, Some(id)) if run => {
            whole(&target.letter(id).await?)?;
            None
        }
        (None, _) => None,
        (Some(_), _) if !run => {
            return Err(Problem::usage(
                "`--payload` is for a service (`--url`), which has handlers; a folder has none",
            ));
        }
        (Some(_), None) => return Err(Problem::usage("`--payload` is one letter's: give one id")),
        (Some(file), Some(_)) => Some(editor::read(&file)?),
    };
    let (count, what) = choice.count(target).await?;
    if count == 0 {
        return out.answer(&serde_json::Value::Null, |_| what);
    }
    let why = ask::why(why, "are they redriven")?;
    let consequence = if run { "They run at once." } else { "The next call of each key runs it." };
    ask::confirm(&format!("Redrive {what}? {consequence} It cannot be undone."), yes)?;
    match single {
        Some(id) => {
            let redriven = match payload {
                Some(payload) => target.run_with(id, payload, &why).await?,
                None => target.redrive(id, run, &why).await?,
            };
            one(&redriven, out)
        }
        None => {
            let asked = NewRedrive { selection: choice.into_selection(), rate, run, why };
            // From here on an interrupt stops the redrive, and not only the looking on.
            let mut interrupts = signal(SignalKind::interrupt())
                .map_err(|error| Problem::failed(format!("interrupts cannot be waited for: {error}")))?;
            let begun = target.start_redrive(asked).await?;
            if no_wait {
                return out.answer(&begun, |_| format!("redrive {} goes on: `idem dlq redrives`", begun.id));
            }
            let ended = watched(begun, &mut interrupts, target).await?;
            out.answer(&ended, |out| redrives::one(&ended, out))?;
            let done = ended.state == RedriveState::Finished && ended.failed == 0;
            if done { Ok(()) } else { Err(Problem::Said(Exit::Failed)) }
        }
    }
}

/// Before anybody is asked anything: a letter that was not stored whole cannot run as it stands.
fn whole(view: &LetterView) -> Result<(), Problem> {
    if view.letter.state != LetterState::Open || view.redacted.is_empty() {
        return Ok(());
    }
    Err(Problem::failed(format!(
        "letter {} was stored without {}: run it with a payload in which that is filled in, by `--payload FILE`; it is used \
         for this run and not stored",
        view.letter.id,
        shown::paths(&view.redacted)
    )))
}

fn one(redriven: &Redriven, out: Out) -> Result<(), Problem> {
    let text = outcome(redriven)?;
    out.answer(redriven, |_| text)?;
    match redriven.ran {
        Some(RunOutcome::Failed { .. }) => Err(Problem::Said(Exit::Failed)),
        Some(RunOutcome::Done(_)) | None => Ok(()),
    }
}

fn outcome(redriven: &Redriven) -> Result<String, Problem> {
    Ok(match &redriven.ran {
        Some(RunOutcome::Done(result)) => format!("it ran, and its result is {}", shown::json(result, false)?),
        Some(RunOutcome::Failed { error, letter }) => {
            let letter = letter.map(|letter| format!("; its open letter is {letter}")).unwrap_or_default();
            format!("it did not succeed: {}{letter}", shown::lines(error))
        }
        None => {
            "its key is re-armed: the next call of it runs; when nobody calls, it is a dead letter again".to_owned()
        }
    })
}

/// Waits for the end, and shows how far it is.
async fn watched(mut redrive: Redrive, interrupts: &mut Signal, target: &dyn Target) -> Result<Redrive, Problem> {
    let progress = bar(redrive.total, "Redriving");
    while redrive.state == RedriveState::Running {
        progress.set_length(redrive.total);
        progress.set_position(redrive.done + redrive.failed + redrive.skipped);
        redrive = tokio::select! {
            Some(()) = interrupts.recv() => {
                out::note("stopping it; what was redriven by now stays redriven");
                target.cancel_redrive(redrive.id, Some("interrupted")).await?
            }
            () = tokio::time::sleep(GLANCE) => target.redrive_state(redrive.id).await.map_err(|problem| lost(problem, &redrive))?,
        };
    }
    progress.finish_and_clear();
    Ok(redrive)
}

/// That the service cannot be asked does not mean that it stopped.
fn lost(problem: Problem, redrive: &Redrive) -> Problem {
    match problem {
        Problem::Told(exit, text) => {
            Problem::Told(exit, format!("{text}; redrive {} may go on: `idem dlq redrives`", redrive.id))
        }
        other => other,
    }
}
