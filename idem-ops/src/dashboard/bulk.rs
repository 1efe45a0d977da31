//! The pages of bulk jobs: a job on selected letters or on a group is started, shown and cancelled.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use uuid::Uuid;

use super::error::PageError;
use super::forms::Fields;
use super::links::redirect;
use super::page::{Answer, Page, Tab, show as answer};
use super::session_guard::{SignedForm, Visit};
use super::state::Dashboard;
use crate::service::{
    BulkAction, BulkEstimate, BulkJob, BulkPage, BulkState, NewBulkJob, PageQuery, Selection,
};

#[derive(Template)]
#[template(path = "dashboard/bulk_jobs.html")]
struct Jobs {
    page: Page,
    list: BulkPage,
}

#[derive(Template)]
#[template(path = "dashboard/bulk_job.html")]
struct One {
    page: Page,
    verb: &'static str,
    state: &'static str,
    /// The number of letters that were handled.
    handled: u64,
    which: String,
    /// How long a running job still takes.
    left: Option<BulkEstimate>,
    bulk: BulkJob,
}

pub(super) async fn selection(State(dashboard): State<Dashboard>, signed: SignedForm) -> Answer {
    let ids = signed.fields.ids()?;
    if ids.is_empty() {
        return Err(PageError::bad(
            "no letter is selected: go back and select some",
        ));
    }
    begin(&dashboard, &signed, Selection::Ids(ids)).await
}

pub(super) async fn group(State(dashboard): State<Dashboard>, signed: SignedForm) -> Answer {
    let handler = signed.fields.require("handler", "The handler")?.to_owned();
    let error = signed.fields.raw("error").unwrap_or_default().to_owned();
    begin(&dashboard, &signed, Selection::Group { handler, error }).await
}

async fn begin(dashboard: &Dashboard, signed: &SignedForm, selection: Selection) -> Answer {
    let SignedForm { visit, fields } = signed;
    let action = match fields.require("act", "The action")? {
        "redrive" => BulkAction::Rearm,
        "run" => BulkAction::Run,
        "publish" => BulkAction::Publish,
        "discard" => BulkAction::Discard,
        other => {
            return Err(PageError::bad(format!(
                "“{other}” is not an action on letters"
            )));
        }
    };
    let (rate, why) = (rate(fields)?, fields.require("why", "A reason")?.to_owned());
    let bulk = dashboard
        .service
        .by(&visit.session.who)
        .start_bulk(NewBulkJob {
            selection,
            action,
            rate,
            why,
        })
        .await?;
    Ok(redirect(&visit.root, &format!("bulk/{}", bulk.id)))
}

/// Returns how long a job on this many letters takes at the rate that the forms propose.
pub(super) fn proposed(letters: u64) -> BulkEstimate {
    BulkEstimate::new(letters, NewBulkJob::RATE)
}

/// Reads the number of letters per second; the service has the same limits.
fn rate(fields: &Fields) -> Result<f64, PageError> {
    let given = fields.require("rate", "How many letters a second")?;
    let rate = given
        .parse()
        .ok()
        .filter(|rate| (0.01..=1000.0).contains(rate));
    rate.ok_or_else(|| {
        PageError::bad(format!(
            "“{given}” is not a number of letters a second from 0.01 to 1000"
        ))
    })
}

pub(super) async fn show(State(dashboard): State<Dashboard>, visit: Visit, parts: Parts) -> Answer {
    let after = Fields::from_query(&parts)
        .get("after")
        .map(bulk_id)
        .transpose()?;
    let list = dashboard
        .service
        .bulks(&PageQuery {
            after,
            limit: Some(50),
        })
        .await?;
    answer(&Jobs {
        page: Page::new(&dashboard, &visit, Tab::Bulk),
        list,
    })
}

pub(super) async fn one(
    State(dashboard): State<Dashboard>,
    visit: Visit,
    Path(id): Path<String>,
) -> Answer {
    let bulk = dashboard.service.bulk(bulk_id(&id)?).await?;
    let mut page = Page::new(&dashboard, &visit, Tab::Bulk);
    page.live = bulk.state == BulkState::Running;
    answer(&One {
        page,
        verb: verb(&bulk),
        state: state(&bulk),
        handled: bulk.done + bulk.failed + bulk.skipped,
        which: which(&bulk.asked.selection),
        left: bulk.left(),
        bulk,
    })
}

pub(super) async fn cancel(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    signed: SignedForm,
) -> Answer {
    let id = bulk_id(&id)?;
    dashboard
        .service
        .by(&signed.visit.session.who)
        .cancel_bulk(id, None)
        .await?;
    Ok(redirect(&signed.visit.root, &format!("bulk/{id}")))
}

fn bulk_id(text: &str) -> Result<Uuid, PageError> {
    text.parse()
        .map_err(|_| PageError::missing(format!("“{text}” is not the id of a bulk job")))
}

fn verb(bulk: &BulkJob) -> &'static str {
    match bulk.asked.action {
        BulkAction::Rearm => "Re-arming",
        BulkAction::Run => "Run",
        BulkAction::Publish => "Sending back",
        BulkAction::Discard => "Discard",
    }
}

fn state(bulk: &BulkJob) -> &'static str {
    match bulk.state {
        BulkState::Running => "running",
        BulkState::Finished => "finished",
        BulkState::Cancelled => "cancelled",
    }
}

fn which(selection: &Selection) -> String {
    match selection {
        Selection::Ids(ids) => format!("{} selected", ids.len()),
        Selection::Group { handler, error } => format!("{handler}: {error}"),
        Selection::Filter(query) => {
            let parts = [
                ("handler", &query.handler),
                ("key", &query.key),
                ("error", &query.error),
            ];
            let conditions: Vec<_> = parts
                .iter()
                .filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)))
                .collect();
            if conditions.is_empty() {
                "all open letters".into()
            } else {
                conditions.join(", ")
            }
        }
    }
}

impl Jobs {
    fn verb(&self, bulk: &BulkJob) -> &'static str {
        verb(bulk)
    }

    fn state(&self, bulk: &BulkJob) -> &'static str {
        state(bulk)
    }
}
