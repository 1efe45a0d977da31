//! One action on one letter, as a person's own action and as a part of a bulk job.

use idem_runtime::dead_letters::RunOutcome;
use idem_runtime::json::Json;
use idem_runtime::{DeadLetter, DeadLetterId, LetterState};

use super::Inner;
use super::audit::{AuditAction, Outcome};
use super::error::ServiceError;

/// An action that closes an open letter.
pub(super) enum LetterAction {
    /// Re-arms its key, for a message that comes again from elsewhere.
    Rearm,
    /// Runs its handler.
    Run,
    /// Runs its handler with this payload.
    RunWith(Json),
    /// Publishes its message back to its broker.
    Publish,
    /// Closes it without another run.
    Discard,
}

impl LetterAction {
    /// Returns what the audit log calls it.
    pub(super) fn audited(&self) -> AuditAction {
        match self {
            Self::Rearm => AuditAction::Redrive,
            Self::Run | Self::RunWith(_) => AuditAction::Run,
            Self::Publish => AuditAction::Publish,
            Self::Discard => AuditAction::Discard,
        }
    }
}

impl Inner {
    /// Reads a letter; one that is gone leaves the index too.
    pub(super) async fn known(&self, id: &DeadLetterId) -> Result<DeadLetter, ServiceError> {
        match self.idem.dead_letters().get(id).await? {
            Some(letter) => Ok(letter),
            None => {
                self.index.forget(*id);
                Err(ServiceError::NoSuchLetter(*id))
            }
        }
    }

    /// Performs an action and updates the index.
    pub(super) async fn act(
        &self,
        who: &str,
        why: &str,
        letter: &DeadLetter,
        action: LetterAction,
    ) -> Result<Option<RunOutcome>, ServiceError> {
        let letters = self.idem.dead_letters().by(who).why(why);
        // The runtime refuses a closed letter.
        if letter.state == LetterState::Open {
            self.check(letter, &action)?;
        }
        let id = &letter.id;
        let ran = match action {
            LetterAction::Rearm => letters.redrive(id).await.map(|_| None),
            LetterAction::Run => letters.run(id).await.map(Some),
            LetterAction::RunWith(payload) => letters.run_with(id, payload, why).await.map(Some),
            LetterAction::Publish => letters.republish(id).await.map(|_| None),
            LetterAction::Discard => letters.discard(id, why).await.map(|_| None),
        };
        if let Ok(Some(letter)) = letters.get(id).await {
            self.index.put(&letter);
        }
        Ok(ran?)
    }

    /// Checks whether the action is possible on an open letter.
    fn check(&self, letter: &DeadLetter, action: &LetterAction) -> Result<(), ServiceError> {
        let id = letter.id;
        let why_not_run = match action {
            LetterAction::Rearm | LetterAction::Discard => None,
            LetterAction::Publish => {
                return self
                    .why_not_publish(letter)
                    .map_or(Ok(()), |why| Err(ServiceError::CannotPublish { id, why }));
            }
            LetterAction::Run => self.why_not_run(letter),
            LetterAction::RunWith(payload) => {
                let mut filled_in = letter.clone();
                filled_in.payload.clone_from(payload);
                self.why_not_run(&filled_in)
            }
        };
        why_not_run.map_or(Ok(()), |why| Err(ServiceError::CannotRun { id, why }))
    }
}

/// Returns what the audit log says of an action's result.
pub(super) fn outcome(result: &Result<Option<RunOutcome>, ServiceError>) -> Outcome {
    match result {
        Ok(Some(RunOutcome::Failed { error, .. })) => Outcome::Failed(error.clone()),
        result => Outcome::of(result),
    }
}
