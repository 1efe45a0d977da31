//! `idem dlq redrive`: messages run again.

use idem_runtime::DeadLetterId;

use super::bulk;
use super::choose::Choice;
use crate::cli::args;
use crate::cli::out::Out;
use crate::cli::problem::{Exit, Problem};
use crate::cli::target::Target;
use crate::cli::{ask, shown};
use crate::service::{BulkDeed, NewBulk, Redriven, RunOutcome};

pub(super) async fn run(asked: args::Redrive, target: &dyn Target, out: Out) -> Result<(), Problem> {
    let args::Redrive { selection, rate, rearm, no_wait, why, yes } = asked;
    bulk::may_leave(no_wait, target)?;
    let run = target.runs() && !rearm;
    let choice = Choice::from(selection);
    let (count, what) = choice.count(target).await?;
    if count == 0 {
        return out.answer(&serde_json::Value::Null, |_| what);
    }
    let why = ask::why(why, "are they redriven")?;
    let consequence = if run { "They run at once." } else { "The next call of each key runs it." };
    ask::confirm(&format!("Redrive {what}? {consequence} It cannot be undone."), yes)?;
    match choice {
        Choice::Ids(ids) if ids.len() == 1 => one(ids[0], run, &why, target, out).await,
        choice => {
            let deed = if run { BulkDeed::Run } else { BulkDeed::Rearm };
            bulk::run(NewBulk { selection: choice.into_selection(), deed, rate, why }, no_wait, target, out).await
        }
    }
}

async fn one(id: DeadLetterId, run: bool, why: &str, target: &dyn Target, out: Out) -> Result<(), Problem> {
    let redriven = target.redrive(id, run, why).await?;
    let text = outcome(&redriven)?;
    out.answer(&redriven, |_| text)?;
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
