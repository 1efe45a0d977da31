//! Handlers that are paused, and what a person does about them.

use std::sync::atomic::Ordering;

use idem_runtime::pause::Pause;
use idem_runtime::protocol::Actor;
use serde::{Deserialize, Serialize};

use super::actions::require_reason;
use super::audit::{AuditAction, Outcome};
use super::audit_log::Draft;
use super::error::ServiceError;
use super::{Actions, Service};

/// The longest name of a handler, in bytes.
const LONGEST: usize = 1024;
/// How many names are shown to a person who gave none of them.
const SHOWN: usize = 5;

/// The handlers that are paused now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PauseList {
    /// Their pauses, by the handlers' names.
    pub pauses: Vec<Pause>,
}

impl Service {
    /// Returns the handlers that are paused now, on all processes of the ledger.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn pauses(&self) -> Result<PauseList, ServiceError> {
        let pauses = self.inner.idem.pauses().await?;
        Ok(PauseList { pauses })
    }

    /// Makes the service not [ready](Self::readiness) while a handler of its ledger is paused, for a
    /// load balancer that has somewhere else to send requests.
    pub fn not_ready_while_paused(self) -> Self {
        self.inner
            .not_ready_while_paused
            .store(true, Ordering::Relaxed);
        self
    }
}

impl Actions {
    /// Pauses a handler on all processes of the ledger, until a person resumes it: see
    /// [`Idem::pause`](idem_runtime::Idem::pause).
    ///
    /// # Errors
    /// [`ServiceError::NoSuchHandler`] when the name is none of the ledger's
    /// [handlers](idem_runtime::Idem::handlers), and those of [`force_pause`](Self::force_pause).
    pub async fn pause(&self, handler: &str, why: &str) -> Result<Pause, ServiceError> {
        require_reason(why)?;
        require_name(handler)?;
        let known = self.service.inner.idem.handlers().await?;
        if known.iter().any(|name| name == handler) {
            return self.force_pause(handler, why).await;
        }
        Err(ServiceError::NoSuchHandler {
            handler: handler.to_owned(),
            nearest: nearest(handler, known),
        })
    }

    /// [`pause`](Self::pause) for a handler that was never called, too.
    ///
    /// # Errors
    /// `handler` is empty or over 1 KiB, `why` is empty or over 1 KiB, or the ledger fails.
    pub async fn force_pause(&self, handler: &str, why: &str) -> Result<Pause, ServiceError> {
        self.decide(AuditAction::Pause, handler, why, async |by| {
            Ok(self.service.inner.idem.pause(handler, by).await?)
        })
        .await
    }

    /// Lifts the pause of a handler, whatever began it, and returns it.
    ///
    /// # Errors
    /// Those of [`force_pause`](Self::force_pause), and [`ServiceError::NotPaused`].
    pub async fn resume(&self, handler: &str, why: &str) -> Result<Pause, ServiceError> {
        self.decide(AuditAction::Resume, handler, why, async |by| {
            let lifted = self.service.inner.idem.resume(handler, by).await?;
            lifted.ok_or_else(|| ServiceError::NotPaused {
                handler: handler.to_owned(),
            })
        })
        .await
    }

    async fn decide(
        &self,
        action: AuditAction,
        handler: &str,
        why: &str,
        change: impl AsyncFnOnce(Actor) -> Result<Pause, ServiceError>,
    ) -> Result<Pause, ServiceError> {
        require_reason(why)?;
        require_name(handler)?;
        let audit_log = &self.service.inner.audit_log;
        let _order = audit_log.lock_order().await;
        let draft = Draft {
            who: self.who.clone(),
            why: Some(why.to_owned()),
            handler: Some(handler.to_owned()),
            ..Draft::default()
        };
        let entries = audit_log.begin(action, draft).await?;
        let by = Actor {
            who: Some(self.who.clone()),
            why: Some(why.to_owned()),
        };
        let result = change(by).await;
        audit_log.finish(entries, &Outcome::of(&result)).await?;
        result
    }
}

fn require_name(handler: &str) -> Result<(), ServiceError> {
    let problem = match handler.len() {
        0 => "is empty: give the handler's name in the ledger".to_owned(),
        1..=LONGEST => return Ok(()),
        bytes => format!("has {bytes} bytes: the limit is {LONGEST}"),
    };
    Err(ServiceError::Invalid {
        field: "handler",
        why: problem,
    })
}

/// Returns the names that are most like this one.
fn nearest(handler: &str, mut known: Vec<String>) -> Vec<String> {
    let unlike = |name: &String| 1.0 - strsim::jaro_winkler(handler, name);
    known.sort_by(|one, other| unlike(one).total_cmp(&unlike(other)));
    known.truncate(SHOWN);
    known
}
