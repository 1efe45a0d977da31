//! The page of the audit log.

use askama::Template;
use axum::extract::State;
use axum::http::request::Parts;

use super::error::PageError;
use super::forms::Fields;
use super::page::{Answer, Page, Tab, show as answer};
use super::session_guard::Visit;
use super::state::Dashboard;
use crate::service::{AuditAction, AuditEntry, AuditPage, Outcome, PageQuery};

#[derive(Template)]
#[template(path = "dashboard/audit.html")]
struct Audit {
    page: Page,
    list: AuditPage,
}

pub(super) async fn show(State(dashboard): State<Dashboard>, visit: Visit, parts: Parts) -> Answer {
    let fields = Fields::from_query(&parts);
    let after = fields.get("after").map(|id| {
        id.parse()
            .map_err(|_| PageError::missing("this page does not exist"))
    });
    let list = dashboard
        .service
        .audit(&PageQuery {
            after: after.transpose()?,
            limit: None,
        })
        .await?;
    answer(&Audit {
        page: Page::new(&dashboard, &visit, Tab::Audit),
        list,
    })
}

impl Audit {
    fn action(&self, entry: &AuditEntry) -> &'static str {
        match entry.what {
            AuditAction::Redrive => "re-armed",
            AuditAction::Run => "ran",
            AuditAction::Publish => "published back",
            AuditAction::Edit => "changed the payload",
            AuditAction::Discard => "discarded",
            AuditAction::Erase => "erased the content",
            AuditAction::Restore => "undid the discard",
            AuditAction::StartRedrive => "started a bulk redrive",
            AuditAction::CancelRedrive => "cancelled a bulk redrive",
            AuditAction::StartDiscard => "started a bulk discard",
            AuditAction::CancelDiscard => "cancelled a bulk discard",
            AuditAction::SetRule => "set a redrive rule",
            AuditAction::RemoveRule => "removed a redrive rule",
            AuditAction::Pause => "paused the handler",
            AuditAction::Resume => "resumed the handler",
            AuditAction::AcceptLoss => "let the ledger go on after a loss",
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
