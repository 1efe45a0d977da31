//! What a person does with one letter.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use idem_runtime::{
    DeadLetterId, Error, Origin,
    json::{Json, json_problem},
};
use tokio::time::timeout;

use super::Dashboard;
use super::error::PageError;
use super::forms::{Signed, letter_id};
use super::letter::{Typed, again};
use super::page::{Answer, redirect};
use super::session::Flash;
use super::visit::Visit;
use crate::service::{Acting, Redriven, RunOutcome, ServiceError};

/// What takes longer goes on without a browser that waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// More of a result is not shown in one line.
const SHOWN: usize = 300;

pub(super) async fn run(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    signed: Signed,
) -> Answer {
    let (id, why) = (
        letter_id(&id)?,
        signed.fields.need("why", "A reason")?.to_owned(),
    );
    let acting = dashboard.service.by(&signed.visit.session.who);
    let flash = patiently(
        async move { acting.redrive(&id, true, &why).await },
        came_to,
    )
    .await?;
    Ok(tell(&dashboard, &signed.visit, id, flash))
}

pub(super) async fn publish(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    signed: Signed,
) -> Answer {
    let (id, why) = (
        letter_id(&id)?,
        signed.fields.need("why", "A reason")?.to_owned(),
    );
    let acting = dashboard.service.by(&signed.visit.session.who);
    let flash = match patiently(async move { acting.republish(&id, &why).await }, sent_back).await {
        Err(PageError::Service(error))
            if matches!(*error, ServiceError::Idem(Error::NotPublished { .. })) =>
        {
            Flash {
                good: false,
                text: cut(&format!("Nothing was sent back: {error}")),
                letter: None,
            }
        }
        done => done?,
    };
    Ok(tell(&dashboard, &signed.visit, id, flash))
}

fn sent_back(redriven: &Redriven) -> Flash {
    let place = redriven
        .letter
        .letter
        .origin
        .as_ref()
        .map(Origin::place)
        .unwrap_or_default();
    let text = format!(
        "It is published to {}: it runs when the broker brings it.",
        cut(&place)
    );
    Flash {
        good: true,
        text,
        letter: None,
    }
}

/// Waits for a run or a broker, as long as a browser should.
async fn patiently(
    act: impl Future<Output = Result<Redriven, ServiceError>> + Send + 'static,
    told: fn(&Redriven) -> Flash,
) -> Result<Flash, PageError> {
    // A task of its own: a browser that goes away does not drop a handler in the middle.
    match timeout(PATIENCE, tokio::spawn(act)).await {
        Err(_) => Ok(Flash {
            good: true,
            text: "It is going on and takes its time: look again soon.".into(),
            letter: None,
        }),
        Ok(Err(_)) => Err(PageError::bad(
            "it ended without an answer: look at the letter",
        )),
        Ok(Ok(redriven)) => Ok(told(&redriven?)),
    }
}

fn came_to(redriven: &Redriven) -> Flash {
    let id = redriven.letter.letter.id;
    match &redriven.ran {
        None => Flash {
            good: true,
            text: "Re-armed: the next delivery of its key runs.".into(),
            letter: None,
        },
        Some(RunOutcome::Done(result)) => Flash {
            good: true,
            text: format!(
                "It ran and is done. Its result: {}",
                cut(&result.to_string())
            ),
            letter: None,
        },
        Some(RunOutcome::Failed { error, letter }) => Flash {
            good: false,
            text: format!("It ran and failed: {}", cut(error)),
            letter: letter
                .filter(|letter| *letter != id)
                .map(|letter| letter.to_string()),
        },
    }
}

pub(super) async fn redrive(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    signed: Signed,
) -> Answer {
    let (id, why) = (letter_id(&id)?, signed.fields.need("why", "A reason")?);
    let redriven = dashboard
        .service
        .by(&signed.visit.session.who)
        .redrive(&id, false, why)
        .await?;
    Ok(tell(&dashboard, &signed.visit, id, came_to(&redriven)))
}

pub(super) async fn edit(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    signed: Signed,
) -> Answer {
    let Signed { visit, fields } = signed;
    let id = letter_id(&id)?;
    let typed = fields.raw("payload").unwrap_or_default();
    let why = fields.get("why").unwrap_or_default();
    let refused = match typed.parse::<Json>() {
        Ok(_) if why.is_empty() => "A reason is missing: say why it is changed.".to_owned(),
        Ok(payload) => {
            let acting = dashboard.service.by(&visit.session.who);
            match with(
                acting,
                id,
                payload.compact(),
                why.to_owned(),
                fields.get("then"),
            )
            .await
            {
                Err(PageError::Service(error)) if of_the_payload(&error) => {
                    format!("Nothing ran: {error}.")
                }
                done => return Ok(tell(&dashboard, &visit, id, done?)),
            }
        }
        Err(error) if error.is_data() => format!("Nothing was saved: {}.", json_problem(&error)),
        Err(error) => format!(
            "Nothing was saved, for this is not JSON: {}.",
            json_problem(&error)
        ),
    };
    let view = dashboard.service.letter(&id).await?;
    let typed = Typed {
        payload: typed.to_owned(),
        why: why.to_owned(),
        problem: refused,
    };
    again(&dashboard, &visit, &view, typed)
}

/// Does with a payload what the button says.
async fn with(
    acting: Acting,
    id: DeadLetterId,
    payload: Json,
    why: String,
    then: Option<&str>,
) -> Result<Flash, PageError> {
    if then == Some("run-with") {
        return patiently(
            async move { acting.run_with(&id, payload, &why).await },
            came_to,
        )
        .await;
    }
    acting.edit(&id, payload, &why).await?;
    match then {
        Some("run") => {
            patiently(
                async move { acting.redrive(&id, true, &why).await },
                came_to,
            )
            .await
        }
        _ => Ok(Flash {
            good: true,
            text: "The new payload is saved.".into(),
            letter: None,
        }),
    }
}

/// Whether another payload would do, so that what was typed is shown again.
fn of_the_payload(error: &ServiceError) -> bool {
    matches!(
        error,
        ServiceError::Invalid { .. }
            | ServiceError::CannotRun { .. }
            | ServiceError::Idem(
                Error::Codec { .. } | Error::Redacted { .. } | Error::PayloadTooLarge { .. }
            )
    )
}

pub(super) async fn discard(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    signed: Signed,
) -> Answer {
    let (id, why) = (letter_id(&id)?, signed.fields.need("why", "A reason")?);
    dashboard
        .service
        .by(&signed.visit.session.who)
        .discard(&id, why)
        .await?;
    let flash = Flash {
        good: true,
        text: "Discarded. It can be undone below.".into(),
        letter: None,
    };
    Ok(tell(&dashboard, &signed.visit, id, flash))
}

pub(super) async fn restore(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    signed: Signed,
) -> Answer {
    let (id, why) = (letter_id(&id)?, signed.fields.need("why", "A reason")?);
    dashboard
        .service
        .by(&signed.visit.session.who)
        .restore(&id, why)
        .await?;
    let flash = Flash {
        good: true,
        text: "The discard is undone: the letter is open again.".into(),
        letter: None,
    };
    Ok(tell(&dashboard, &signed.visit, id, flash))
}

/// Back to the letter's page, with something to tell.
fn tell(dashboard: &Dashboard, visit: &Visit, id: DeadLetterId, flash: Flash) -> Response {
    dashboard.sessions.tell(&visit.session, flash);
    redirect(&visit.root, &format!("letters/{id}"))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
