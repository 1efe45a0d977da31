//! What people do: each act under its letter's lock, with an entry in the audit log before and
//! after it.

use idem_runtime::{
    DeadLetter, DeadLetterId, Error, LetterState, dead_letters::RunOutcome as Ran, json::Json,
};
use uuid::Uuid;

use super::audit::{AuditEntry, Deed, Outcome};
use super::bulk::{Bulk, NewBulk};
use super::error::ServiceError;
use super::journal::Draft;
use super::letters::{LetterView, Redriven, RunOutcome};
use super::{Inner, Service};

/// The longest reason, in bytes: it stands in the letter, in the audit log, and in each turn of a
/// bulk act.
const LONGEST_WHY: usize = 1024;

/// A person who changes something. Two changes of one letter never overlap, and each change is in
/// the audit log before it happens.
#[derive(Clone)]
pub struct Acting {
    pub(super) service: Service,
    pub(super) who: String,
}

impl Acting {
    /// Re-arms a letter's key; with `run`, runs its handler here and waits for the outcome. That a
    /// run fails is no error.
    ///
    /// # Errors
    /// There is no such letter, it is closed, it cannot be run ([`ServiceError::CannotRun`]), `why`
    /// is empty or over 1 KiB, or the ledger refuses.
    pub async fn redrive(
        &self,
        id: &DeadLetterId,
        run: bool,
        why: &str,
    ) -> Result<Redriven, ServiceError> {
        self.redrive_as(id, if run { How::Run } else { How::Rearm }, why)
            .await
    }

    /// Redrives a letter and runs its handler with this payload. What the handler redacts is not
    /// stored, so it is the way to run a letter with redacted parts; the rest is an edit.
    ///
    /// # Errors
    /// Those of [`edit`](Self::edit), and of [`redrive`](Self::redrive) with a run.
    pub async fn run_with(
        &self,
        id: &DeadLetterId,
        payload: Json,
        why: &str,
    ) -> Result<Redriven, ServiceError> {
        object(&payload)?;
        self.redrive_as(id, How::RunWith(payload), why).await
    }

    /// Re-arms a letter's key and publishes its message back to the broker that it came from, whose
    /// delivery runs it:
    /// [`Redriven::ran`] is nothing. A publisher that fails leaves the letter open.
    ///
    /// # Errors
    /// There is no such letter, it is closed, it cannot be published
    /// ([`ServiceError::CannotPublish`]), the publisher failed ([`Error::NotPublished`]), `why` is
    /// empty or over 1 KiB, or the ledger refuses.
    pub async fn republish(&self, id: &DeadLetterId, why: &str) -> Result<Redriven, ServiceError> {
        self.redrive_as(id, How::Publish, why).await
    }

    async fn redrive_as(
        &self,
        id: &DeadLetterId,
        how: How,
        why: &str,
    ) -> Result<Redriven, ServiceError> {
        let deed = match how {
            How::Rearm => Deed::Redrive,
            How::Run | How::RunWith(_) => Deed::Run,
            How::Publish => Deed::Publish,
            How::Discard => Deed::Discard,
        };
        reason(why)?;
        let inner = &self.service.inner;
        let _held = inner.locks.hold(*id).await;
        let letter = inner.known(id).await?;
        let draft = Draft::of(&self.who, Some(why), &letter);
        let ordered = inner.journal.in_order().await;
        let mut entries = inner
            .journal
            .begin(deed, vec![draft], |_| Ok(Vec::new()))
            .await?;
        // A run may be long, and a broker slow: its entry stands where it began.
        let ordered = matches!(deed, Deed::Redrive | Deed::Discard).then_some(ordered);
        let result = inner.act(&self.who, why, &letter, how).await;
        let came_to = outcome(&result);
        entries
            .iter_mut()
            .for_each(|entry| entry.outcome = came_to.clone());
        let written = inner.journal.end(&entries, Vec::new()).await;
        drop(ordered);
        let ran = result?;
        written?;
        Ok(Redriven {
            letter: self.service.view(inner.known(id).await?),
            ran,
        })
    }

    /// Changes the payload; what it was before stays in the letter's history.
    ///
    /// # Errors
    /// There is no such letter, it is closed, the payload is no JSON object (or text, where no
    /// handler could take the message) or is nested deeper than [`Json::DEEPEST`], `why` is empty
    /// or over 1 KiB, or the ledger refuses.
    pub async fn edit(
        &self,
        id: &DeadLetterId,
        payload: Json,
        why: &str,
    ) -> Result<LetterView, ServiceError> {
        // What no handler could take may be any text.
        if !payload.is_string() || !self.service.inner.known(id).await?.is_buried() {
            object(&payload)?;
        }
        let letters = self.service.inner.idem.dead_letters().by(&self.who);
        self.change(id, Deed::Edit, why, async {
            letters.edit(id, payload, why).await
        })
        .await
    }

    /// Closes a letter without another run.
    ///
    /// # Errors
    /// There is no such letter, it is closed, `why` is empty or over 1 KiB, or the ledger refuses.
    pub async fn discard(&self, id: &DeadLetterId, why: &str) -> Result<LetterView, ServiceError> {
        let letters = self.service.inner.idem.dead_letters().by(&self.who);
        self.change(id, Deed::Discard, why, async {
            letters.discard(id, why).await
        })
        .await
    }

    /// Undoes a discard.
    ///
    /// # Errors
    /// There is no such letter, it is not discarded, its key is forgotten by now, `why` is empty or
    /// over 1 KiB, or the ledger refuses.
    pub async fn restore(&self, id: &DeadLetterId, why: &str) -> Result<LetterView, ServiceError> {
        let letters = self.service.inner.idem.dead_letters().by(&self.who);
        self.change(id, Deed::Restore, why, async {
            letters.restore(id, why).await
        })
        .await
    }

    /// Begins to do one thing to many letters, which goes on in the background, and after a
    /// restart.
    ///
    /// # Errors
    /// The selection or the rate makes no sense, `why` is empty or over 1 KiB, or the ledger
    /// refuses.
    pub async fn start_bulk(&self, asked: NewBulk) -> Result<Bulk, ServiceError> {
        reason(&asked.why)?;
        self.service.inner.start_bulk(&self.who, asked).await
    }

    /// Stops a bulk act; what was done by then stays done.
    ///
    /// # Errors
    /// There is no such bulk act, it has ended, or the ledger refuses.
    pub async fn cancel_bulk(&self, id: Uuid, why: Option<&str>) -> Result<Bulk, ServiceError> {
        why.map_or(Ok(()), reason)?;
        self.service.inner.cancel_bulk(&self.who, id, why).await
    }

    async fn change(
        &self,
        id: &DeadLetterId,
        deed: Deed,
        why: &str,
        act: impl Future<Output = Result<DeadLetter, Error>>,
    ) -> Result<LetterView, ServiceError> {
        reason(why)?;
        let inner = &self.service.inner;
        let _held = inner.locks.hold(*id).await;
        let letter = inner.known(id).await?;
        let _ordered = inner.journal.in_order().await;
        let draft = Draft::of(&self.who, Some(why), &letter);
        let mut entries = inner
            .journal
            .begin(deed, vec![draft], |_| Ok(Vec::new()))
            .await?;
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

    /// Redrives, publishes or discards; the index is told.
    pub(super) async fn act(
        &self,
        who: &str,
        why: &str,
        letter: &DeadLetter,
        how: How,
    ) -> Result<Option<RunOutcome>, ServiceError> {
        let letters = self.idem.dead_letters().by(who).why(why);
        // That a letter is closed is the runtime's to say.
        if letter.state == LetterState::Open {
            self.check(letter, &how)?;
        }
        let ran = match how {
            How::Rearm => letters.redrive(&letter.id).await.map(|_| None),
            How::Run => letters.run(&letter.id).await.map(Some),
            How::RunWith(payload) => letters.run_with(&letter.id, payload, why).await.map(Some),
            How::Publish => letters.republish(&letter.id).await.map(|_| None),
            How::Discard => letters.discard(&letter.id, why).await.map(|_| None),
        };
        let result = ran.map(|ran| {
            ran.map(|ran| match ran {
                Ran::Done(result) => RunOutcome::Done(result),
                Ran::Failed { error, letter } => RunOutcome::Failed { error, letter },
                other => RunOutcome::Failed {
                    error: format!("{other:?}"),
                    letter: None,
                },
            })
        });
        if let Ok(Some(letter)) = letters.get(&letter.id).await {
            self.index.put(&letter);
        }
        Ok(result?)
    }

    /// Whether it can be done to an open letter.
    fn check(&self, letter: &DeadLetter, how: &How) -> Result<(), ServiceError> {
        let id = letter.id;
        let why_not_run = match how {
            How::Rearm | How::Discard => None,
            How::Publish => {
                return self
                    .why_not_publish(letter)
                    .map_or(Ok(()), |why| Err(ServiceError::CannotPublish { id, why }));
            }
            How::Run => self.why_not(letter),
            How::RunWith(payload) => {
                let mut filled_in = letter.clone();
                filled_in.payload.clone_from(payload);
                self.why_not(&filled_in)
            }
        };
        why_not_run.map_or(Ok(()), |why| Err(ServiceError::CannotRun { id, why }))
    }
}

/// What is done with an open letter.
pub(super) enum How {
    /// Its key is re-armed, and somebody else brings the message.
    Rearm,
    Run,
    /// With this payload.
    RunWith(Json),
    /// Its message goes back to its broker.
    Publish,
    /// It is closed without another run.
    Discard,
}

fn object(payload: &Json) -> Result<(), ServiceError> {
    let why = match payload.depth() {
        _ if !payload.is_object() => {
            "is no object: a payload has the arguments' names, each with its value".to_owned()
        }
        ..=Json::DEEPEST => return Ok(()),
        depth => format!("is nested {depth} deep: it can be {} deep", Json::DEEPEST),
    };
    Err(ServiceError::Invalid {
        field: "payload",
        why,
    })
}

/// What an act's result is in the audit log.
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
        _ if why.len() > LONGEST_WHY => {
            format!("has {} bytes: it can have {LONGEST_WHY}", why.len())
        }
        _ => return Ok(()),
    };
    Err(ServiceError::Invalid {
        field: "why",
        why: problem,
    })
}
