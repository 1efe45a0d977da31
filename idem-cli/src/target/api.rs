//! The routes of the JSON API that commands use.

use idem_ops::monitor::AlertState;
use idem_ops::service::{
    Backup, BulkJob, BulkPage, Erase, Erasure, GroupPage, GroupQuery, LetterPage, LetterQuery,
    LetterView, NewBulkJob, PageQuery, Pause, PauseList, RedriveRule, Redriven, SetRule, Stats,
    StatsQuery, Timeline,
};
use idem_runtime::DeadLetterId;
use idem_runtime::json::Json;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::client::Target;
use crate::problem::Problem;

/// A body without fields.
#[derive(Serialize)]
struct Nothing {}

/// The body of a change; `json!` would round a payload's numbers.
#[derive(Default, Serialize)]
struct Change<'a> {
    why: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<bool>,
}

impl<'a> Change<'a> {
    fn new(why: &'a str) -> Self {
        Self {
            why,
            ..Self::default()
        }
    }
}

impl Target {
    pub(crate) async fn letters(&self, query: &LetterQuery) -> Result<LetterPage, Problem> {
        self.get("api/v1/letters", query).await
    }

    pub(crate) async fn letter(&self, id: DeadLetterId) -> Result<LetterView, Problem> {
        self.get(&format!("api/v1/letters/{id}"), &()).await
    }

    pub(crate) async fn groups(&self, query: &GroupQuery) -> Result<GroupPage, Problem> {
        self.get("api/v1/groups", query).await
    }

    /// Erases what is kept of one message.
    pub(crate) async fn erase(&self, message: &Erase) -> Result<Erasure, Problem> {
        self.post("api/v1/erase", message).await
    }

    pub(crate) async fn explain(&self, handler: &str, key: &str) -> Result<Timeline, Problem> {
        self.get("api/v1/explain", &[("handler", handler), ("key", key)])
            .await
    }

    pub(crate) async fn stats(&self) -> Result<Stats, Problem> {
        self.get("api/v1/stats", &StatsQuery::default()).await
    }

    /// Returns the state of the alerts to people.
    pub(crate) async fn alerts(&self) -> Result<AlertState, Problem> {
        self.get("api/v1/alerts", &()).await
    }

    pub(crate) async fn redrive(
        &self,
        id: DeadLetterId,
        run: bool,
        why: &str,
    ) -> Result<Redriven, Problem> {
        let run = Some(run);
        self.change(
            id,
            "redrive",
            Change {
                run,
                ..Change::new(why)
            },
        )
        .await
    }

    /// Runs a letter with this payload, of which redacted parts are not stored.
    pub(crate) async fn run_with(
        &self,
        id: DeadLetterId,
        payload: Json,
        why: &str,
    ) -> Result<Redriven, Problem> {
        let (run, payload) = (Some(true), Some(payload));
        self.change(id, "redrive", Change { run, payload, why })
            .await
    }

    /// Publishes a letter's message back to its broker.
    pub(crate) async fn publish(&self, id: DeadLetterId, why: &str) -> Result<Redriven, Problem> {
        self.change(id, "publish", Change::new(why)).await
    }

    pub(crate) async fn edit(
        &self,
        id: DeadLetterId,
        payload: Json,
        why: &str,
    ) -> Result<LetterView, Problem> {
        let payload = Some(payload);
        self.change(
            id,
            "edit",
            Change {
                payload,
                ..Change::new(why)
            },
        )
        .await
    }

    pub(crate) async fn discard(&self, id: DeadLetterId, why: &str) -> Result<LetterView, Problem> {
        self.change(id, "discard", Change::new(why)).await
    }

    pub(crate) async fn restore(&self, id: DeadLetterId, why: &str) -> Result<LetterView, Problem> {
        self.change(id, "restore", Change::new(why)).await
    }

    pub(crate) async fn start_bulk(&self, asked: NewBulkJob) -> Result<BulkJob, Problem> {
        self.post("api/v1/bulk", &asked).await
    }

    /// Has the service copy its ledger.
    pub(crate) async fn back_up(&self) -> Result<Backup, Problem> {
        self.post("api/v1/backups", &Nothing {}).await
    }

    /// Returns the handlers that are paused.
    pub(crate) async fn pauses(&self) -> Result<PauseList, Problem> {
        self.get("api/v1/pauses", &()).await
    }

    pub(crate) async fn pause(
        &self,
        handler: &str,
        why: &str,
        force: bool,
    ) -> Result<Pause, Problem> {
        let mut body = serde_json::json!({ "handler": handler, "why": why });
        // A service of an earlier release does not know the field.
        if force {
            body["force"] = true.into();
        }
        self.post("api/v1/pauses", &body).await
    }

    pub(crate) async fn resume(&self, handler: &str, why: &str) -> Result<Pause, Problem> {
        let request = self.request(Method::DELETE, "api/v1/pauses");
        self.answer(request.query(&[("handler", handler), ("why", why)]))
            .await
    }

    pub(crate) async fn bulks(&self, query: &PageQuery) -> Result<BulkPage, Problem> {
        self.get("api/v1/bulk", query).await
    }

    pub(crate) async fn bulk(&self, id: Uuid) -> Result<BulkJob, Problem> {
        self.get(&format!("api/v1/bulk/{id}"), &()).await
    }

    pub(crate) async fn cancel_bulk(
        &self,
        id: Uuid,
        why: Option<&str>,
    ) -> Result<BulkJob, Problem> {
        let why = why.map(|why| ("why", why));
        let request = self.request(Method::DELETE, &format!("api/v1/bulk/{id}"));
        self.answer(request.query(why.as_slice())).await
    }

    pub(crate) async fn rules(&self) -> Result<Vec<SetRule>, Problem> {
        self.get("api/v1/rules", &()).await
    }

    /// Sets a redrive rule.
    pub(crate) async fn set_rule(&self, rule: &RedriveRule, why: &str) -> Result<SetRule, Problem> {
        let body = serde_json::json!({ "rule": rule, "why": why });
        self.post("api/v1/rules", &body).await
    }

    /// Removes a redrive rule, whose name the caller has checked.
    pub(crate) async fn remove_rule(&self, name: &str, why: &str) -> Result<SetRule, Problem> {
        let request = self.request(Method::DELETE, &format!("api/v1/rules/{name}"));
        self.answer(request.query(&[("why", why)])).await
    }

    async fn change<T: DeserializeOwned>(
        &self,
        id: DeadLetterId,
        action: &str,
        change: Change<'_>,
    ) -> Result<T, Problem> {
        self.post(&format!("api/v1/letters/{id}/{action}"), &change)
            .await
    }
}
