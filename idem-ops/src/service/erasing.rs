//! Erases what the ledger keeps of one message, and says what that does not reach.

use idem_runtime::DeadLetterId;
use idem_runtime::dead_letters::Actor;
use serde::{Deserialize, Serialize};

use super::actions::{Actions, require_reason};
use super::audit::{AuditAction, Outcome};
use super::audit_log::Draft;
use super::error::ServiceError;

/// Where a message's content may be, outside of what is erased.
const NOT_REACHED: [&str; 6] = [
    "backups and copies of the ledger",
    "the message itself, if a broker still has it, and messages about it in the outbox",
    "logs, mails, webhooks and exports",
    "the handler's own tables",
    "what the storage keeps of overwritten data: PostgreSQL its dead rows until a vacuum, its WAL and its standbys; a \
     folder its log until that is rewritten",
    "the handler's name, the key, the times, the history's reasons and the audit log, which are kept",
];

/// A message to erase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// The handler's name.
    pub handler: String,
    /// The idempotency key, as letters show it.
    pub key: String,
    /// The reason, for the audit log.
    pub why: String,
}

/// What was erased of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Erasure {
    /// The letters whose content was erased.
    pub letters: Vec<DeadLetterId>,
    /// Whether a recorded result was erased.
    pub result: bool,
    /// Where content of the message may still be, for people.
    pub not_reached: Vec<String>,
}

impl Actions {
    /// Erases the result and the letters of one settled message, which stays settled; an open
    /// letter is discarded. This cannot be undone.
    ///
    /// # Errors
    /// The message runs or waits for its next attempt, `why` is empty or over 1 KiB, or the ledger
    /// fails.
    pub async fn erase(&self, message: Erase) -> Result<Erasure, ServiceError> {
        let Erase { handler, key, why } = message;
        require_reason(&why)?;
        let inner = &self.service.inner;
        let _order = inner.audit_log.lock_order().await;
        let draft = Draft {
            who: self.who.clone(),
            why: Some(why.clone()),
            handler: Some(handler.clone()),
            key: Some(key.clone()),
            ..Draft::default()
        };
        let entries = inner.audit_log.begin(AuditAction::Erase, draft).await?;
        let by = Actor {
            who: Some(self.who.clone()),
            why: Some(why),
        };
        let result = inner.idem.erase(&handler, &key, by).await;
        let outcome = Outcome::of(&result);
        let written = inner.audit_log.finish(entries, &outcome).await;
        let erased = result?;
        written?;
        for id in &erased.letters {
            if let Some(letter) = inner.idem.dead_letters().get(id).await? {
                inner.index.put(&letter);
            }
        }
        Ok(Erasure {
            letters: erased.letters,
            result: erased.result,
            not_reached: NOT_REACHED.map(str::to_owned).to_vec(),
        })
    }
}
