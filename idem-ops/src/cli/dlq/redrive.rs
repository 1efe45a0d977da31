//! `idem dlq redrive`: messages run again.

use idem_runtime::{LetterState, Origin};

use super::bulk;
use super::choose::Choice;
use crate::cli::args;
use crate::cli::out::Out;
use crate::cli::problem::{Exit, Problem};
use crate::cli::target::Target;
use crate::cli::{ask, editor, shown};
use crate::service::{BulkAction, LetterView, NewBulkJob, Redriven, RunOutcome};

pub(super) async fn run(
    asked: args::Redrive,
    target: &dyn Target,
    out: Out,
) -> Result<(), Problem> {
    let args::Redrive {
        selection,
        rate,
        rearm,
        payload,
        no_wait,
        why,
        publish,
        yes,
    } = asked;
    bulk::may_leave(no_wait, target)?;
    if publish && !target.runs() {
        return Err(Problem::usage(
            "`--publish` is for a service (`--url`), which has publishers for its brokers; a folder has none",
        ));
    }
    let deed = match (publish, rearm) {
        (true, _) => BulkAction::Publish,
        (_, false) if target.runs() => BulkAction::Run,
        _ => BulkAction::Rearm,
    };
    let choice = Choice::from(selection);
    let single = choice.single();
    let payload = match (payload, single) {
        (None, Some(id)) if deed != BulkAction::Rearm => {
            may(deed, &target.letter(id).await?)?;
            None
        }
        (None, _) => None,
        (Some(_), _) if deed != BulkAction::Run => {
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
    let consequence = match deed {
        BulkAction::Run => "They run at once.",
        BulkAction::Publish => "Their messages go back to the brokers that they came from.",
        _ => "The next call of each key runs it.",
    };
    ask::confirm(
        &format!("Redrive {what}? {consequence} It cannot be undone."),
        yes,
    )?;
    match single {
        Some(id) => {
            let redriven = match payload {
                Some(payload) => target.run_with(id, payload, &why).await?,
                None if publish => target.publish(id, &why).await?,
                None => target.redrive(id, deed == BulkAction::Run, &why).await?,
            };
            one(&redriven, publish, out)
        }
        None => {
            bulk::run(
                NewBulkJob {
                    selection: choice.into_selection(),
                    action: deed,
                    rate,
                    why,
                },
                no_wait,
                target,
                out,
            )
            .await
        }
    }
}

/// Before anybody is asked anything: a letter that was not stored whole cannot run as it stands,
/// and not every message can go back.
fn may(deed: BulkAction, view: &LetterView) -> Result<(), Problem> {
    if view.letter.state != LetterState::Open {
        return Ok(());
    }
    if deed == BulkAction::Publish {
        let refused = |why| {
            Problem::failed(format!(
                "letter {} cannot be published: {}",
                view.letter.id,
                shown::line(why)
            ))
        };
        return view
            .why_not_publish
            .as_deref()
            .map_or(Ok(()), |why| Err(refused(why)));
    }
    if view.redacted.is_empty() {
        return Ok(());
    }
    Err(Problem::failed(format!(
        "letter {} was stored without {}: run it with a payload in which that is filled in, by `--payload FILE`; it is used \
         for this run and not stored",
        view.letter.id,
        shown::paths(&view.redacted)
    )))
}

fn one(redriven: &Redriven, published: bool, out: Out) -> Result<(), Problem> {
    let text = outcome(redriven, published)?;
    out.answer(redriven, |_| text)?;
    match redriven.ran {
        Some(RunOutcome::Failed { .. }) => Err(Problem::Said(Exit::Failed)),
        Some(_) | None => Ok(()),
    }
}

fn outcome(redriven: &Redriven, published: bool) -> Result<String, Problem> {
    Ok(match &redriven.ran {
        Some(RunOutcome::Done(result)) => format!("it ran, and its result is {}", shown::json(result, false)?),
        Some(RunOutcome::Failed { error, letter }) => {
            let letter = letter.map(|letter| format!("; its open letter is {letter}")).unwrap_or_default();
            format!("it did not succeed: {}{letter}", shown::lines(error))
        }
        Some(_) => "it ran: look at the letter".to_owned(),
        None if published => {
            let place = redriven.letter.letter.origin.as_ref().map(Origin::place).unwrap_or_default();
            format!("its message is published to {}: it runs when the broker brings it", shown::line(&place))
        }
        None => {
            "its key is re-armed: the next call of it runs; when nobody calls, it is a dead letter again".to_owned()
        }
    })
}
