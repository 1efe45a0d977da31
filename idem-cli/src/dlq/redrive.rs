//! `idem dlq redrive`: messages run again.

use idem_runtime::{LetterState, Origin};

use super::bulk;
use super::choose::Choice;
use crate::args::{Many, Redrive};
use crate::out::{self, Out};
use crate::problem::{Exit, Problem};
use crate::target::Target;
use crate::{editor, format, prompt};
use idem_ops::service::{BulkAction, BulkEstimate, LetterView, NewBulkJob, Redriven, RunOutcome};

pub(super) async fn run(redrive: Redrive, target: &Target, out: Out) -> Result<(), Problem> {
    let Redrive {
        many,
        rate,
        rearm,
        publish,
        payload,
    } = redrive;
    let Many {
        selection,
        no_wait,
        reason,
        yes,
    } = many;
    bulk::may_leave(no_wait, target)?;
    if publish && !target.runs() {
        return Err(Problem::usage(
            "`--publish` is for a service (`--url`), which has publishers for its brokers; this program has none",
        ));
    }
    let action = match (publish, rearm) {
        (true, _) => BulkAction::Publish,
        (_, false) if target.runs() => BulkAction::Run,
        _ => BulkAction::Rearm,
    };
    let choice = Choice::from(selection);
    let single = choice.single();
    let payload = match (payload, single) {
        (None, Some(id)) if action != BulkAction::Rearm => {
            may(action, &target.letter(id).await?)?;
            None
        }
        (None, _) => None,
        (Some(_), _) if action != BulkAction::Run => {
            return Err(Problem::usage(
                "`--payload` is for a service (`--url`), which has handlers; this program has none",
            ));
        }
        (Some(_), None) => return Err(Problem::usage("`--payload` is one letter's: give one id")),
        (Some(file), Some(_)) => Some(editor::read(&file)?),
    };
    let (count, what) = choice.count(target).await?;
    if count == 0 {
        return out.answer(&serde_json::Value::Null, |_| what);
    }
    let why = prompt::why(reason, "are they redriven")?;
    let consequence = match action {
        BulkAction::Run => "They run at once.",
        BulkAction::Publish => "Their messages go back to the brokers that they came from.",
        _ => "The next call of each key runs it.",
    };
    if single.is_none() {
        out::note(&BulkEstimate::new(count, rate).to_string());
    }
    prompt::confirm(
        &format!("Redrive {what}? {consequence} It cannot be undone."),
        yes,
    )?;
    match single {
        Some(id) => {
            let redriven = match payload {
                Some(payload) => target.run_with(id, payload, &why).await?,
                None if publish => target.publish(id, &why).await?,
                None => target.redrive(id, action == BulkAction::Run, &why).await?,
            };
            one(&redriven, publish, out)
        }
        None => {
            bulk::run(
                NewBulkJob {
                    selection: choice.into_selection(),
                    action,
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

/// Checks, before the person is asked, that the letter can be run or published as it stands.
fn may(action: BulkAction, view: &LetterView) -> Result<(), Problem> {
    if view.letter.state != LetterState::Open {
        return Ok(());
    }
    if action == BulkAction::Publish {
        let refused = |why| {
            Problem::failed(format!(
                "letter {} cannot be published: {}",
                view.letter.id,
                format::line(why)
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
        format::paths(&view.redacted)
    )))
}

fn one(redriven: &Redriven, published: bool, out: Out) -> Result<(), Problem> {
    let text = outcome(redriven, published)?;
    out.answer(redriven, |_| text)?;
    match redriven.ran {
        Some(RunOutcome::Failed { .. }) => Err(Problem::Said(Exit::Failed)),
        _ => Ok(()),
    }
}

fn outcome(redriven: &Redriven, published: bool) -> Result<String, Problem> {
    Ok(match &redriven.ran {
        Some(RunOutcome::Done(result)) => format!("it ran, and its result is {}", format::json(result, false)?),
        Some(RunOutcome::Failed { error, letter }) => {
            let letter = letter.map(|letter| format!("; its open letter is {letter}")).unwrap_or_default();
            format!("it did not succeed: {}{letter}", format::lines(error))
        }
        Some(_) => "it ran, and this `idem` does not know its outcome".to_owned(),
        None if published => {
            let place = redriven.letter.letter.origin.as_ref().map(Origin::place).unwrap_or_default();
            format!("its message is published to {}: it runs when the broker brings it", format::line(&place))
        }
        None => {
            "its key is re-armed: the next call of it runs; without a call, it is a dead letter again".to_owned()
        }
    })
}
