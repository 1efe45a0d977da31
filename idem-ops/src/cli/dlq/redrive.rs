//! `idem dlq redrive`: messages run again.

use idem_runtime::LetterState;

use super::bulk;
use super::choose::Choice;
use crate::cli::args;
use crate::cli::out::Out;
use crate::cli::problem::{Exit, Problem};
use crate::cli::target::Target;
use crate::cli::{ask, editor, shown};
use crate::service::{BulkDeed, LetterView, NewBulk, Redriven, RunOutcome};

pub(super) async fn run(asked: args::Redrive, target: &dyn Target, out: Out) -> Result<(), Problem> {
    let args::Redrive { selection, rate, rearm, payload, no_wait, why, yes } = asked;
    bulk::may_leave(no_wait, target)?;
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
            let deed = if run { BulkDeed::Run } else { BulkDeed::Rearm };
            bulk::run(NewBulk { selection: choice.into_selection(), deed, rate, why }, no_wait, target, out).await
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
