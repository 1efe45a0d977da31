//! The actions of a person on one letter.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use idem_runtime::dead_letters::LetterError;
use idem_runtime::json::{Json, json_problem};
use idem_runtime::{DeadLetterId, Origin};
use tokio::time::timeout;

use super::error::PageError;
use super::forms::letter_id;
use super::letter::{Typed, show_again};
use super::links::redirect;
use super::page::Answer;
use super::session::Flash;
use super::session_guard::{SignedForm, Visit};
use super::state::Dashboard;
use crate::service::{Actions, Redriven, RunOutcome, ServiceError};

/// How long a browser waits for a run or a broker; the action continues without it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The number of characters of a result or an error that are shown in one line.
const SHOWN: usize = 300;

/// Returns the letter and the reason of a form, and the actions of the person who sent it.
fn signed_action(
    dashboard: &Dashboard,
    id: &str,
    form: &SignedForm,
) -> Result<(DeadLetterId, String, Actions), PageError> {
    let why = form.fields.require("why", "A reason")?;
    let actions = dashboard.service.by(&form.visit.session.who);
    Ok((letter_id(id)?, why.to_owned(), actions))
}

pub(super) async fn run(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    form: SignedForm,
) -> Answer {
    let (id, why, actions) = signed_action(&dashboard, &id, &form)?;
    let run = async move { actions.run(&id, &why).await };
    let flash = wait_for(run, redriven).await?;
    Ok(back(&dashboard, &form.visit, id, flash))
}

pub(super) async fn publish(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    form: SignedForm,
) -> Answer {
    let (id, why, actions) = signed_action(&dashboard, &id, &form)?;
    let publish = async move { actions.republish(&id, &why).await };
    let flash = match wait_for(publish, published).await {
        Err(PageError::Service(error))
            if matches!(
                *error,
                ServiceError::Letter(LetterError::NotPublished { .. })
            ) =>
        {
            Flash::bad(cut(&format!("Nothing was sent back: {error:#}")))
        }
        done => done?,
    };
    Ok(back(&dashboard, &form.visit, id, flash))
}

fn published(redriven: &Redriven) -> Flash {
    let origin = redriven.letter.letter.origin.as_ref();
    let place = origin.map(Origin::place).unwrap_or_default();
    Flash::good(format!(
        "It is published to {}: it runs when the broker brings it.",
        cut(&place)
    ))
}

/// Waits for a run or a broker for as long as a browser should.
async fn wait_for(
    action: impl Future<Output = Result<Redriven, ServiceError>> + Send + 'static,
    describe: fn(&Redriven) -> Flash,
) -> Result<Flash, PageError> {
    // It is a task of its own, so that a closed connection does not drop a handler in the middle.
    match timeout(PATIENCE, tokio::spawn(action)).await {
        Err(_) => Ok(Flash::good(
            "It is still running: reload this page in a while.",
        )),
        Ok(Err(_)) => Err(PageError::bad(
            "the action panicked: look at the letter and the log",
        )),
        Ok(Ok(redriven)) => Ok(describe(&redriven?)),
    }
}

fn redriven(redriven: &Redriven) -> Flash {
    let id = redriven.letter.letter.id;
    match &redriven.ran {
        None => Flash::good("Re-armed: the next delivery of its key runs."),
        Some(RunOutcome::Done(result)) => Flash::good(format!(
            "It ran and is done. Its result: {}",
            cut(&result.to_string())
        )),
        Some(RunOutcome::Failed { error, letter }) => Flash {
            letter: letter
                .filter(|letter| *letter != id)
                .map(|letter| letter.to_string()),
            ..Flash::bad(format!("It ran and failed: {}", cut(error)))
        },
        Some(_) => Flash::good("It ran."),
    }
}

pub(super) async fn redrive(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    form: SignedForm,
) -> Answer {
    let (id, why, actions) = signed_action(&dashboard, &id, &form)?;
    let flash = redriven(&actions.redrive(&id, &why).await?);
    Ok(back(&dashboard, &form.visit, id, flash))
}

pub(super) async fn edit(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    SignedForm { visit, fields }: SignedForm,
) -> Answer {
    let id = letter_id(&id)?;
    let typed = fields.raw("payload").unwrap_or_default();
    let why = fields.get("why").unwrap_or_default();
    let refused = match typed.parse::<Json>() {
        Ok(_) if why.is_empty() => "A reason is missing: say why you change it.".to_owned(),
        Ok(payload) => {
            let actions = dashboard.service.by(&visit.session.who);
            let (payload, why, then) = (payload.compact(), why.to_owned(), fields.get("then"));
            match use_payload(actions, id, payload, why, then).await {
                Err(PageError::Service(error)) if is_of_the_payload(&error) => {
                    format!("Nothing ran: {error:#}.")
                }
                done => return Ok(back(&dashboard, &visit, id, done?)),
            }
        }
        Err(error) if error.is_data() => format!("Nothing was saved: {}.", json_problem(&error)),
        Err(error) => format!(
            "Nothing was saved: this is not JSON: {}.",
            json_problem(&error)
        ),
    };
    let view = dashboard.service.letter(&id).await?;
    let typed = Typed {
        payload: typed.to_owned(),
        why: why.to_owned(),
        problem: refused,
    };
    show_again(&dashboard, &visit, &view, typed)
}

/// Does with a payload what the form's button says.
async fn use_payload(
    actions: Actions,
    id: DeadLetterId,
    payload: Json,
    why: String,
    then: Option<&str>,
) -> Result<Flash, PageError> {
    if then == Some("run-with") {
        let run = async move { actions.run_with(&id, payload, &why).await };
        return wait_for(run, redriven).await;
    }
    actions.edit(&id, payload, &why).await?;
    match then {
        Some("run") => {
            let run = async move { actions.run(&id, &why).await };
            wait_for(run, redriven).await
        }
        _ => Ok(Flash::good("The new payload is saved.")),
    }
}

/// Returns whether another payload may help, so that what was typed is shown again.
fn is_of_the_payload(error: &ServiceError) -> bool {
    matches!(
        error,
        ServiceError::Invalid { .. }
            | ServiceError::CannotRun { .. }
            | ServiceError::Letter(LetterError::PayloadUnfit { .. } | LetterError::Redacted { .. })
    )
}

pub(super) async fn discard(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    form: SignedForm,
) -> Answer {
    let (id, why, actions) = signed_action(&dashboard, &id, &form)?;
    actions.discard(&id, &why).await?;
    let flash = Flash::good("Discarded. You can undo it below.");
    Ok(back(&dashboard, &form.visit, id, flash))
}

pub(super) async fn restore(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    form: SignedForm,
) -> Answer {
    let (id, why, actions) = signed_action(&dashboard, &id, &form)?;
    actions.restore(&id, &why).await?;
    let flash = Flash::good("The discard is undone: the letter is open again.");
    Ok(back(&dashboard, &form.visit, id, flash))
}

/// Redirects to the letter's page with a message.
fn back(dashboard: &Dashboard, visit: &Visit, id: DeadLetterId, flash: Flash) -> Response {
    dashboard.sessions.set_flash(&visit.session, flash);
    redirect(&visit.root, &format!("letters/{id}"))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
