//! What a person does with many letters, those that are ticked or a whole group, and how far it is.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use uuid::Uuid;

use super::Dashboard;
use super::error::PageError;
use super::forms::{Fields, Signed};
use super::page::{Answer, Page, Tab, redirect, show as draw};
use super::session_guard::Visit;
use crate::service::{BulkJob, BulkAction, BulkPage, BulkState, NewBulkJob, PageQuery, Selection};

#[derive(Template)]
#[template(path = "dashboard/bulk_jobs.html")]
struct Acts {
    page: Page,
    list: BulkPage,
}

#[derive(Template)]
#[template(path = "dashboard/bulk_job.html")]
struct One {
    page: Page,
    verb: &'static str,
    state: &'static str,
    /// How many letters had their turn.
    gone: u64,
    which: String,
    bulk: BulkJob,
}

pub(super) async fn selection(State(dashboard): State<Dashboard>, signed: Signed) -> Answer {
    let ids = signed.fields.ids()?;
    if ids.is_empty() {
        return Err(PageError::bad(
            "no letter is selected: go back and tick some",
        ));
    }
    begin(&dashboard, &signed, Selection::Ids(ids)).await
}

pub(super) async fn group(State(dashboard): State<Dashboard>, signed: Signed) -> Answer {
    let handler = signed.fields.need("handler", "The handler")?.to_owned();
    let error = signed.fields.raw("error").unwrap_or_default().to_owned();
    begin(&dashboard, &signed, Selection::Group { handler, error }).await
}

async fn begin(dashboard: &Dashboard, signed: &Signed, selection: Selection) -> Answer {
    let Signed { visit, fields } = signed;
    let deed = match fields.need("act", "What to do")? {
        "redrive" => BulkAction::Rearm,
        "run" => BulkAction::Run,
        "publish" => BulkAction::Publish,
        "discard" => BulkAction::Discard,
        other => {
            return Err(PageError::bad(format!(
                "“{other}” is nothing that can be done with letters"
            )));
        }
    };
    let (rate, why) = (rate(fields)?, fields.need("why", "A reason")?.to_owned());
    let bulk = dashboard
        .service
        .by(&visit.session.who)
        .start_bulk(NewBulkJob {
            selection,
            action: deed,
            rate,
            why,
        })
        .await?;
    Ok(redirect(&visit.root, &format!("bulk/{}", bulk.id)))
}

/// How many letters a second; the service has the same limits.
fn rate(fields: &Fields) -> Result<f64, PageError> {
    let given = fields.need("rate", "How many letters a second")?;
    let rate = given
        .parse()
        .ok()
        .filter(|rate| (0.01..=1000.0).contains(rate));
    rate.ok_or_else(|| {
        PageError::bad(format!(
            "“{given}” is no number of letters a second from 0.01 to 1000"
        ))
    })
}

pub(super) async fn show(State(dashboard): State<Dashboard>, visit: Visit, parts: Parts) -> Answer {
    let after = Fields::of_query(&parts)
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
    draw(&Acts {
        page: Page::of(&dashboard, &visit, Tab::Bulk),
        list,
    })
}

pub(super) async fn one(
    State(dashboard): State<Dashboard>,
    visit: Visit,
    Path(id): Path<String>,
) -> Answer {
    let bulk = dashboard.service.bulk(bulk_id(&id)?).await?;
    let mut page = Page::of(&dashboard, &visit, Tab::Bulk);
    page.goes_on = bulk.state == BulkState::Running;
    draw(&One {
        page,
        verb: verb(&bulk),
        state: state(&bulk),
        gone: bulk.done + bulk.failed + bulk.skipped,
        which: which(&bulk.asked.selection),
        bulk,
    })
}

pub(super) async fn cancel(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    signed: Signed,
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
        .map_err(|_| PageError::missing(format!("“{text}” is no bulk job's id")))
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
        BulkState::Cancelled => "stopped",
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
            let said: Vec<_> = parts
                .iter()
                .filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)))
                .collect();
            if said.is_empty() {
                "all open letters".into()
            } else {
                said.join(", ")
            }
        }
    }
}

impl Acts {
    fn verb(&self, bulk: &BulkJob) -> &'static str {
        verb(bulk)
    }

    fn state(&self, bulk: &BulkJob) -> &'static str {
        state(bulk)
    }
}
