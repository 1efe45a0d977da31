//! What people do: each act under its letter's lock, with an entry in the audit log before and after it.

use idem_runtime::{DeadLetter, DeadLetterId, LetterState, Ran};
use uuid::Uuid;

use super::audit::{AuditEntry, Deed, Outcome};
use super::error::ServiceError;
use super::journal::Draft;
use super::letters::{LetterView, Redriven, RunOutcome};
use super::redrives::{NewRedrive, Redrive};
use super::{Inner, Service};

/// The longest reason, in bytes.
const LONGEST_WHY: usize = 4096;

/// A person who changes something. Two changes of one letter never overlap, and each change is in the audit log before
/// it happens.
#[derive(Clone)]
pub struct Acting {
    pub(super) service: Service,
    pub(super) who: String,
}

impl Acting {
    /// Re-arms a letter's key; with `run`, runs its handler here and waits for the outcome. That a run fails is no error.
    ///
    /// # Errors
    /// There is no such letter, it is closed, it cannot be run ([`ServiceError::CannotRun`]), `why` is empty or over
    /// 4 KiB, or the ledger refuses.
    pub async fn redrive(&self, id: &DeadLetterId, run: bool, why: &str) -> Result<Redriven, ServiceError> {
        reason(why)?;
        let inner = &self.service.inner;
        let _held = inner.locks.hold(*id).await;
        let letter = inner.known(id).await?;
        let (deed, draft) = (if run { Deed::Run } else { Deed::Redrive }, Draft::of(&self.who, Some(why), &letter));
        let ordered = inner.journal.in_order().await;
        let mut entries = inner.journal.begin(deed, vec![draft], |_| Ok(Vec::new())).await?;
        // A run may be long: its entry stands where it began.
        let ordered = (!run).then_some(ordered);
        let result = inner.redrive(&self.who, &letter, run).await;
        entries.iter_mut().for_each(|entry| entry.outcome = outcome(&result));
        let written = inner.journal.end(&entries, Vec::new()).await;
        drop(ordered);
        let ran = result?;
        written?;
        Ok(Redriven { letter: self.service.view(inner.known(id).await?), ran })
    }

    /// Changes the payload; what it was before stays in the letter's history.
    ///
    /// # Errors
    /// There is no such letter, it is closed, the payload is no JSON object, `why` is empty or over 4 KiB, or the
    /// ledger refuses.
    pub async fn edit(
        &self,
        id: &DeadLetterId,
        payload: serde_json::Value,
        why: &str,
    ) -> Result<LetterView, ServiceError> {
        if !payload.is_object() {
            let why = "is no object: a payload has the arguments' names, each with its value".to_owned();
            return Err(ServiceError::Invalid { field: "payload", why });
        }
        let letters = self.service.inner.idem.dead_letters().by(&self.who);
        self.change(id, Deed::Edit, why, async { letters.edit(id, payload, why).await }).await
    }

    /// Closes a letter without another run.
    ///
    /// # Errors
    /// There is no such letter, it is closed, `why` is empty or over 4 KiB, or the ledger refuses.
    pub async fn discard(&self, id: &DeadLetterId, why: &str) -> Result<LetterView, ServiceError> {
        let letters = self.service.inner.idem.dead_letters().by(&self.who);
        self.change(id, Deed::Discard, why, async { letters.discard(id, why).await }).await
    }

    /// Undoes a discard.
    ///
    /// # Errors
    /// There is no such letter, it is not discarded, its key is forgotten by now, `why` is empty or over 4 KiB, or the
    /// ledger refuses.
    pub async fn restore(&self, id: &DeadLetterId, why: &str) -> Result<LetterView, ServiceError> {
        let letters = self.service.inner.idem.dead_letters().by(&self.who);
        self.change(id, Deed::Restore, why, async { letters.restore(id, why).await }).await
    }

    /// Begins a redrive of many letters, which goes on in the background, and after a restart.
    ///
    /// # Errors
    /// The selection or the rate makes no sense, `why` is empty or over 4 KiB, or the ledger refuses.
    pub async fn start_redrive(&self, asked: NewRedrive) -> Result<Redrive, ServiceError> {
        reason(&asked.why)?;
        self.service.inner.start_redrive(&self.who, asked).await
    }

    /// Stops a redrive of many letters; what was redriven by then stays redriven.
    ///
    /// # Errors
    /// There is no such redrive, it has ended, or the ledger refuses.
    pub async fn cancel_redrive(&self, id: Uuid, why: Option<&str>) -> Result<Redrive, ServiceError> {
        why.map_or(Ok(()), reason)?;
        self.service.inner.cancel_redrive(&self.who, id, why).await
    }

    async fn change(
        &self,
        id: &DeadLetterId,
        deed: Deed,
        why: &str,
        act: impl Future<Output = Result<DeadLetter, idem_runtime::Error>>,
    ) -> Result<LetterView, ServiceError> {
        reason(why)?;
        let inner = &self.service.inner;
        let _held = inner.locks.hold(*id).await;
        let letter = inner.known(id).await?;
        let _ordered = inner.journal.in_order().await;
        let draft = Draft::of(&self.who, Some(why), &letter);
        let mut entries = inner.journal.begin(deed, vec![draft], |_| Ok(Vec::new())).await?;
        let result = act.await;
        for entry in &mut entries {
            entry.outcome = match &result {
                Ok(_) => Outcome::Done,
                Err(error) => Outcome::Refused(error.to_string()),
            };
        }
        inner.journal.end(&entries, Vec::new()).await?;
        let letter = result?;
        inner.index.put(&letter);
        Ok(self.service.view(letter))
    }
}

impl Inner {
    pub(super) async fn known(&self, id: &DeadLetterId) -> Result<DeadLetter, ServiceError> {
        match self.idem.dead_letters().get(id).await? {
            Some(letter) => Ok(letter),
            None => {
                self.index.forget(*id);
                Err(ServiceError::NoSuchLetter(*id))
            }
        }
    }

    /// Re-arms, and runs where asked to; the index is told.
    pub(super) async fn redrive(
        &self,
        who: &str,
        letter: &DeadLetter,
        run: bool,
    ) -> Result<Option<RunOutcome>, ServiceError> {
        let letters = self.idem.dead_letters().by(who);
        let why_not = run.then(|| self.why_not(letter)).flatten();
        if let Some(why) = why_not.filter(|_| letter.state == LetterState::Open) {
            return Err(ServiceError::CannotRun { id: letter.id, why });
        }
        let result = match run {
            true => letters.run(&letter.id).await.map(|ran| match ran {
                Ran::Done(result) => Some(RunOutcome::Done(result)),
                Ran::Failed { error, letter } => Some(RunOutcome::Failed { error, letter }),
                other => Some(RunOutcome::Failed { error: format!("{other:?}"), letter: None }),
            }),
            false => letters.redrive(&letter.id).await.map(|_| None),
        };
        if let Ok(Some(letter)) = letters.get(&letter.id).await {
            self.index.put(&letter);
        }
        Ok(result?)
    }
}

/// What a redrive's result is in the audit log.
pub(super) fn outcome(result: &Result<Option<RunOutcome>, ServiceError>) -> Outcome {
    match result {
        Ok(Some(RunOutcome::Failed { error, .. })) => Outcome::Failed(error.clone()),
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

/// Ends an entry.
pub(super) fn ended(mut entry: AuditEntry, outcome: Outcome) -> AuditEntry {
    entry.outcome = outcome;
    entry
}

fn reason(why: &str) -> Result<(), ServiceError> {
    let problem = match why.trim() {
        "" => "is empty: say why, for whoever asks later".to_owned(),
        _ if why.len() > LONGEST_WHY => format!("has {} bytes: it can have {LONGEST_WHY}", why.len()),
        _ => return Ok(()),
    };
    Err(ServiceError::Invalid { field: "why", why: problem })
}
