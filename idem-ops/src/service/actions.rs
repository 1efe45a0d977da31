//! What a person can do with dead letters: each action holds its letter's lock and has an entry in
//! the audit log before and after it.

use idem_runtime::dead_letters::LetterError;
use idem_runtime::json::Json;
use idem_runtime::{DeadLetter, DeadLetterId};
use uuid::Uuid;

use super::Service;
use super::audit::{AuditAction, Outcome};
use super::audit_log::Draft;
use super::bulk::{BulkJob, NewBulkJob};
use super::error::ServiceError;
use super::letter_action::{LetterAction, outcome};
use super::letters::{LetterView, Redriven};

/// The longest reason, in bytes: it is stored in the letter, in the audit log, and in each batch of
/// a bulk job.
const LONGEST_REASON: usize = 1024;

/// The actions of one person. Two changes of one letter never overlap in a process, the ledger takes
/// one of two that replicas make, and each change is in the audit log before it happens.
#[derive(Clone)]
pub struct Actions {
    pub(super) service: Service,
    pub(super) who: String,
}

impl Actions {
    /// Re-arms a letter's key: its next call runs.
    ///
    /// # Errors
    /// The letter does not exist or is closed, `why` is empty or over 1 KiB, or the ledger fails.
    pub async fn redrive(&self, id: &DeadLetterId, why: &str) -> Result<Redriven, ServiceError> {
        self.redrive_by(id, LetterAction::Rearm, why).await
    }

    /// Re-arms a letter's key, runs its handler here and waits for the outcome. A run that fails is
    /// an outcome, not an error.
    ///
    /// # Errors
    /// Those of [`redrive`](Self::redrive), and [`ServiceError::CannotRun`].
    pub async fn run(&self, id: &DeadLetterId, why: &str) -> Result<Redriven, ServiceError> {
        self.redrive_by(id, LetterAction::Run, why).await
    }

    /// Runs a letter like [`run`](Self::run), with this payload. It is the way to run a letter with
    /// redacted parts: what the handler redacts is not stored, the rest is stored as an edit.
    ///
    /// # Errors
    /// Those of [`edit`](Self::edit) and of [`run`](Self::run).
    pub async fn run_with(
        &self,
        id: &DeadLetterId,
        payload: Json,
        why: &str,
    ) -> Result<Redriven, ServiceError> {
        require_object(&payload)?;
        self.redrive_by(id, LetterAction::RunWith(payload), why)
            .await
    }

    /// Re-arms a letter's key and publishes its message back to the broker that it came from; the
    /// delivery runs it, so [`Redriven::ran`] is `None`. The letter stays open if the publisher
    /// fails.
    ///
    /// # Errors
    /// Those of [`redrive`](Self::redrive), [`ServiceError::CannotPublish`], and
    /// [`LetterError::NotPublished`] if the publisher failed.
    pub async fn republish(&self, id: &DeadLetterId, why: &str) -> Result<Redriven, ServiceError> {
        self.redrive_by(id, LetterAction::Publish, why).await
    }

    async fn redrive_by(
        &self,
        id: &DeadLetterId,
        action: LetterAction,
        why: &str,
    ) -> Result<Redriven, ServiceError> {
        require_reason(why)?;
        let audited = action.audited();
        let inner = &self.service.inner;
        let _lock = inner.locks.lock(*id).await;
        let letter = inner.known(id).await?;
        let draft = Draft::new(&self.who, Some(why), &letter);
        let order = inner.audit_log.lock_order().await;
        let entries = inner.audit_log.begin(audited, draft).await?;
        // A run or a broker may be slow: its entry keeps the place where it began.
        let order = matches!(audited, AuditAction::Redrive).then_some(order);
        let result = inner.act(&self.who, why, &letter, action).await;
        let written = inner.audit_log.finish(entries, &outcome(&result)).await;
        drop(order);
        let ran = result?;
        written?;
        Ok(Redriven {
            letter: self.service.view(inner.known(id).await?),
            ran,
        })
    }

    /// Replaces the payload; the old one stays in the letter's history.
    ///
    /// # Errors
    /// The letter does not exist or is closed; the payload is not a JSON object (text is accepted
    /// for a message that no handler could take) or is nested deeper than [`Json::DEEPEST`]; `why`
    /// is empty or over 1 KiB; or the ledger fails.
    pub async fn edit(
        &self,
        id: &DeadLetterId,
        payload: Json,
        why: &str,
    ) -> Result<LetterView, ServiceError> {
        // A message that no handler could take may be any text.
        if !payload.is_string() || !self.service.inner.known(id).await?.is_buried() {
            require_object(&payload)?;
        }
        let letters = self.service.inner.idem.dead_letters().by(&self.who);
        self.change(id, AuditAction::Edit, why, async {
            letters.edit(id, payload, why).await
        })
        .await
    }

    /// Closes a letter without another run.
    ///
    /// # Errors
    /// The letter does not exist or is closed, `why` is empty or over 1 KiB, or the ledger fails.
    pub async fn discard(&self, id: &DeadLetterId, why: &str) -> Result<LetterView, ServiceError> {
        let letters = self.service.inner.idem.dead_letters().by(&self.who);
        self.change(id, AuditAction::Discard, why, async {
            letters.discard(id, why).await
        })
        .await
    }

    /// Undoes a discard.
    ///
    /// # Errors
    /// The letter does not exist or is not discarded, its key has expired, `why` is empty or over
    /// 1 KiB, or the ledger fails.
    pub async fn restore(&self, id: &DeadLetterId, why: &str) -> Result<LetterView, ServiceError> {
        let letters = self.service.inner.idem.dead_letters().by(&self.who);
        self.change(id, AuditAction::Restore, why, async {
            letters.restore(id, why).await
        })
        .await
    }

    /// Starts a bulk job: one action on many letters, which continues in the background and after a
    /// restart.
    ///
    /// # Errors
    /// The selection or the rate is invalid, `why` is empty or over 1 KiB, or the ledger fails.
    pub async fn start_bulk(&self, asked: NewBulkJob) -> Result<BulkJob, ServiceError> {
        require_reason(&asked.why)?;
        self.service.inner.start_bulk(&self.who, asked).await
    }

    /// Cancels a bulk job; what it has done stays done.
    ///
    /// # Errors
    /// The bulk job does not exist or has ended, or the ledger fails.
    pub async fn cancel_bulk(&self, id: Uuid, why: Option<&str>) -> Result<BulkJob, ServiceError> {
        why.map_or(Ok(()), require_reason)?;
        self.service.inner.cancel_bulk(&self.who, id, why).await
    }

    /// Writes into the audit log that the person agreed to go on without what the ledger's server
    /// `lost`, which was done already.
    ///
    /// # Errors
    /// `why` is empty or over 1 KiB, or the ledger fails.
    pub async fn accepted_loss(&self, lost: &str, why: &str) -> Result<(), ServiceError> {
        require_reason(why)?;
        let audit_log = &self.service.inner.audit_log;
        let draft = Draft {
            who: self.who.clone(),
            why: Some(format!("{lost}: {why}")),
            done: true,
            ..Draft::default()
        };
        let _order = audit_log.lock_order().await;
        audit_log.begin(AuditAction::AcceptLoss, draft).await?;
        Ok(())
    }

    async fn change(
        &self,
        id: &DeadLetterId,
        audited: AuditAction,
        why: &str,
        change: impl Future<Output = Result<DeadLetter, LetterError>>,
    ) -> Result<LetterView, ServiceError> {
        require_reason(why)?;
        let inner = &self.service.inner;
        let _lock = inner.locks.lock(*id).await;
        let letter = inner.known(id).await?;
        let _order = inner.audit_log.lock_order().await;
        let draft = Draft::new(&self.who, Some(why), &letter);
        let entries = inner.audit_log.begin(audited, draft).await?;
        let result = change.await;
        let outcome = Outcome::of(&result);
        inner.audit_log.finish(entries, &outcome).await?;
        let letter = result?;
        inner.index.put(&letter);
        Ok(self.service.view(letter))
    }
}

fn require_object(payload: &Json) -> Result<(), ServiceError> {
    let why = match payload.depth() {
        _ if !payload.is_object() => {
            "is not a JSON object: give the arguments by name, each with its value".to_owned()
        }
        ..=Json::DEEPEST => return Ok(()),
        depth => format!("is nested {depth} deep: the limit is {}", Json::DEEPEST),
    };
    Err(ServiceError::Invalid {
        field: "payload",
        why,
    })
}

pub(super) fn require_reason(why: &str) -> Result<(), ServiceError> {
    let problem = match why.trim() {
        "" => "is empty: give a reason for the audit log".to_owned(),
        _ if why.len() > LONGEST_REASON => {
            format!("has {} bytes: the limit is {LONGEST_REASON}", why.len())
        }
        _ => return Ok(()),
    };
    Err(ServiceError::Invalid {
        field: "why",
        why: problem,
    })
}
