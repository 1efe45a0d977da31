//! Who did what, when and why.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;

use super::Dashboard;
use super::error::PageError;
use super::forms::Fields;
use super::page::{Answer, Page, Tab, show as draw};
use super::session_guard::Visit;
use crate::service::{AuditEntry, AuditPage, AuditAction, Outcome, PageQuery};

#[derive(Template)]
#[template(path = "dashboard/audit.html")]
struct Audit {
    page: Page,
    list: AuditPage,
}

pub(super) async fn show(State(dashboard): State<Dashboard>, visit: Visit, parts: Parts) -> Answer {
    let fields = Fields::of_query(&parts);
    let after = fields.get("after").map(|id| {
        id.parse()
            .map_err(|_| PageError::missing("there is no such page"))
    });
    let list = dashboard
        .service
        .audit(&PageQuery {
            after: after.transpose()?,
            limit: None,
        })
        .await?;
    draw(&Audit {
        page: Page::of(&dashboard, &visit, Tab::Audit),
        list,
    })
}

impl Audit {
    fn deed(&self, entry: &AuditEntry) -> &'static str {
        match entry.what {
            AuditAction::Redrive => "re-armed",
            AuditAction::Run => "ran",
            AuditAction::Publish => "published back",
            AuditAction::Edit => "changed the payload",
            AuditAction::Discard => "discarded",
            AuditAction::Restore => "undid the discard",
            AuditAction::StartRedrive => "began a bulk redrive",
            AuditAction::CancelRedrive => "stopped a bulk redrive",
            AuditAction::StartDiscard => "began a bulk discard",
            AuditAction::CancelDiscard => "stopped a bulk discard",
        }
    }

    fn outcome(&self, entry: &AuditEntry) -> String {
        match &entry.outcome {
            Outcome::Begun => "begun".into(),
            Outcome::Done => "done".into(),
            Outcome::Failed(error) => format!("failed: {error}"),
            Outcome::Refused(why) => format!("refused: {why}"),
        }
    }
}
