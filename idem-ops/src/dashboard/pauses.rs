//! The buttons that pause and resume a handler.

use axum::extract::State;
use axum::response::Response;

use super::links::redirect;
use super::page::Answer;
use super::session::Flash;
use super::session_guard::{SignedForm, Visit};
use super::state::Dashboard;

pub(super) async fn pause(State(dashboard): State<Dashboard>, form: SignedForm) -> Answer {
    let SignedForm { visit, fields } = form;
    let why = fields.require("why", "A reason")?;
    let handler = fields.require("handler", "The handler")?;
    let actions = dashboard.service.by(&visit.session.who);
    let pause = match fields.get("force") {
        Some(_) => actions.force_pause(handler, why).await?,
        None => actions.pause(handler, why).await?,
    };
    let text = format!("{} is paused: its messages wait.", pause.handler);
    Ok(back(&dashboard, &visit, text))
}

pub(super) async fn resume(State(dashboard): State<Dashboard>, form: SignedForm) -> Answer {
    let SignedForm { visit, fields } = form;
    let why = fields.require("why", "A reason")?;
    // A name may begin with a space.
    let handler = fields.raw("handler").unwrap_or_default();
    let actions = dashboard.service.by(&visit.session.who);
    let pause = actions.resume(handler, why).await?;
    let text = format!("{} is resumed: its messages run again.", pause.handler);
    Ok(back(&dashboard, &visit, text))
}

fn back(dashboard: &Dashboard, visit: &Visit, text: String) -> Response {
    dashboard
        .sessions
        .set_flash(&visit.session, Flash::good(text));
    redirect(&visit.root, "overview")
}
