//! Redrives of many letters, and how far they are.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use uuid::Uuid;

use super::Dashboard;
use super::error::PageError;
use super::forms::{Fields, Signed};
use super::page::{Answer, Page, Tab, redirect, show as draw};
use super::visit::Visit;
use crate::service::{PageQuery, Redrive, RedrivePage, RedriveState, Selection};

#[derive(Template)]
#[template(path = "dashboard/redrives.html")]
struct Redrives {
    page: Page,
    list: RedrivePage,
}

#[derive(Template)]
#[template(path = "dashboard/redrive.html")]
struct One {
    page: Page,
    verb: &'static str,
    state: &'static str,
    /// How many letters had their turn.
    gone: u64,
    which: String,
    redrive: Redrive,
}

pub(super) async fn show(State(dashboard): State<Dashboard>, visit: Visit, parts: Parts) -> Answer {
    let after = Fields::of_query(&parts).get("after").map(redrive_id).transpose()?;
    let list = dashboard.service.redrives(&PageQuery { after, limit: Some(50) }).await?;
    draw(&Redrives { page: Page::of(&dashboard, &visit, Tab::Redrives), list })
}

pub(super) async fn one(State(dashboard): State<Dashboard>, visit: Visit, Path(id): Path<String>) -> Answer {
    let redrive = dashboard.service.redrive(redrive_id(&id)?).await?;
    let mut page = Page::of(&dashboard, &visit, Tab::Redrives);
    page.goes_on = redrive.state == RedriveState::Running;
    draw(&One {
        page,
        verb: if redrive.asked.run { "Run" } else { "Re-arming" },
        state: state(&redrive),
        gone: redrive.done + redrive.failed + redrive.skipped,
        which: which(&redrive.asked.selection),
        redrive,
    })
}

pub(super) async fn cancel(State(dashboard): State<Dashboard>, Path(id): Path<String>, signed: Signed) -> Answer {
    let id = redrive_id(&id)?;
    dashboard.service.by(&signed.visit.session.who).cancel_redrive(id, None).await?;
    Ok(redirect(&signed.visit.root, &format!("redrives/{id}")))
}

fn redrive_id(text: &str) -> Result<Uuid, PageError> {
    text.parse().map_err(|_| PageError::missing(format!("“{text}” is no redrive's id")))
}

fn state(redrive: &Redrive) -> &'static str {
    match redrive.state {
        RedriveState::Running => "running",
        RedriveState::Finished => "finished",
        RedriveState::Cancelled => "stopped",
    }
}

fn which(selection: &Selection) -> String {
    match selection {
        Selection::Ids(ids) => format!("{} selected", ids.len()),
        Selection::Group { handler, error } => format!("{handler}: {error}"),
        Selection::Filter(query) => {
            let parts = [("handler", &query.handler), ("key", &query.key), ("error", &query.error)];
            let said: Vec<_> =
                parts.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
            if said.is_empty() { "all open letters".into() } else { said.join(", ") }
        }
    }
}

impl Redrives {
    fn state(&self, redrive: &Redrive) -> &'static str {
        state(redrive)
    }
}
