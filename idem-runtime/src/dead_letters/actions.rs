//! The actions of a person on a letter.

use std::sync::Arc;

use super::payload::unfit;
use super::{DeadLetters, LetterError};
use crate::json::problem::json_problem;
use crate::json::{Json, TooDeep};
use crate::message::redact::redact;
use crate::protocol::{Actor, BuryCause, DeadLetter, DeadLetterId, RedrivePayload, Reply, Step};

impl DeadLetters {
    /// Re-arms the letter's key: the next call of it runs the body with a fresh budget, whatever
    /// its content. This does not make that call: if the consumer has acknowledged the message,
    /// publish it again, or use [`run`](Self::run). If no call comes within the handler's `ttl`, it
    /// is a dead letter again ([`Reason::Abandoned`](crate::dead_letters::Reason::Abandoned)). The
    /// letter stays as history, and is returned as it is then.
    ///
    /// A letter of a message that no handler took ([`DeadLetter::is_buried`]) leaves no key to
    /// re-arm: its record is removed, and the producer or [`republish`](Self::republish) publishes
    /// the message again. A letter whose [key was reused](crate::dead_letters::Reason::KeyReused)
    /// would be refused again: [`edit`](Self::edit) its key, and [`run`](Self::run) it.
    ///
    /// # Errors
    /// [`LetterError::NoSuchLetter`], [`LetterError::LetterClosed`], or [`LetterError::Ledger`]
    /// when it cannot be recorded.
    pub async fn redrive(&self, id: &DeadLetterId) -> Result<DeadLetter, LetterError> {
        let letter = self.known(id).await?;
        // The key of a buried message is not its own: once the message can be decoded, it has
        // another.
        let step = if letter.is_buried() {
            self.forgetting(&letter)
        } else {
            self.redriving(&letter)
        };
        self.act(letter, step).await
    }

    /// Closes the letter without another run. Duplicates of its key do not run until the handler's
    /// `ttl` has passed since the discard, as with a result. `why` is kept in the history.
    ///
    /// # Errors
    /// [`LetterError::NoSuchLetter`], [`LetterError::LetterClosed`], or [`LetterError::Ledger`]
    /// when it cannot be recorded.
    pub async fn discard(
        &self,
        id: &DeadLetterId,
        why: impl Into<String>,
    ) -> Result<DeadLetter, LetterError> {
        let letter = self.known(id).await?;
        self.act(
            letter,
            Step::Discard {
                letter: *id,
                by: self.actor(Some(why.into())),
            },
        )
        .await
    }

    /// Undoes a discard, or a redrive that no call has followed: the letter is open again. This
    /// works until the handler's `ttl` has passed.
    ///
    /// # Errors
    /// [`LetterError::NoSuchLetter`]; [`LetterError::NotRestorable`] when the letter is not closed,
    /// a call has come, or the key has expired; [`LetterError::Ledger`] when it cannot be recorded.
    pub async fn restore(
        &self,
        id: &DeadLetterId,
        why: impl Into<String>,
    ) -> Result<DeadLetter, LetterError> {
        let letter = self.known(id).await?;
        if letter.is_erased() {
            let (id, state) = (*id, letter.state);
            return Err(LetterError::NotRestorable { id, state });
        }
        self.act(
            letter,
            Step::Restore {
                letter: *id,
                by: self.actor(Some(why.into())),
            },
        )
        .await
    }

    /// Changes the payload that [`run`](Self::run) uses. The earlier one stays in the letter's
    /// history. Parts that the handler redacts are sealed if this Idem has a
    /// [key](crate::SealKeys); without one they are not stored: pass them to
    /// [`run_with`](Self::run_with). A part that is still [`REDACTED`](super::REDACTED) keeps its
    /// sealed value, unless the length of an array that it is in was changed.
    ///
    /// # Errors
    /// [`LetterError::NoSuchLetter`], [`LetterError::LetterClosed`], [`LetterError::PayloadUnfit`]
    /// when the payload is nested deeper than [`Json::DEEPEST`], [`LetterError::Sealed`] when some
    /// sealed parts are replaced and the others cannot be opened, or [`LetterError::Ledger`] when
    /// it cannot be recorded.
    pub async fn edit(
        &self,
        id: &DeadLetterId,
        payload: impl Into<Json>,
        why: impl Into<String>,
    ) -> Result<DeadLetter, LetterError> {
        let (payload, why) = (payload.into(), why.into());
        let letter = self.known(id).await?;
        let redacted = self.without(&letter, payload.clone()).await?;
        let sealed = self.resealed(&letter, &payload, &redacted)?;
        self.act(
            letter,
            Step::Edit {
                letter: *id,
                payload: redacted,
                sealed,
                by: self.actor(Some(why)),
            },
        )
        .await
    }

    /// Returns the letter, or [`LetterError::NoSuchLetter`].
    pub(super) async fn known(&self, id: &DeadLetterId) -> Result<DeadLetter, LetterError> {
        self.get(id)
            .await?
            .ok_or(LetterError::NoSuchLetter { id: *id })
    }

    /// Returns the step that re-arms a letter's key.
    pub(super) fn redriving(&self, letter: &DeadLetter) -> Step {
        let payload = RedrivePayload {
            payload: letter.payload.as_str().as_bytes().into(),
            redacted: letter.redacted.clone(),
            sealed: letter.sealed.clone().map(Arc::new),
            origin: letter.origin.clone().map(Arc::new),
            cause: BuryCause::from_letter(letter),
            arguments: Some(letter.arguments()),
            trace: letter.trace,
        };
        Step::Redrive {
            letter: letter.id,
            payload: Some(Box::new(payload)),
            by: self.actor(self.why.clone()),
        }
    }

    /// Returns the step that closes a letter without waiting for a call.
    pub(super) fn forgetting(&self, letter: &DeadLetter) -> Step {
        Step::Redrive {
            letter: letter.id,
            payload: None,
            by: self.actor(self.why.clone()),
        }
    }

    /// Returns a payload without what the letter's handler redacts.
    async fn without(&self, letter: &DeadLetter, payload: Json) -> Result<Json, LetterError> {
        let depth = payload.depth();
        if depth > Json::DEEPEST {
            return Err(unfit(letter, TooDeep(depth)));
        }
        if letter.is_buried() {
            return super::redaction::mended(self.shared(), letter, payload).await;
        }
        if letter.redacted.is_empty() {
            return Ok(payload);
        }
        let paths = letter.redacted.iter().map(String::as_str);
        // The payload may also be the value of an only argument.
        let alone = paths
            .clone()
            .filter_map(|path| Some(path.split_once('.')?.1));
        let paths: Vec<_> = paths.chain(alone).collect();
        redact(payload.as_str().as_bytes(), &paths)
            .and_then(|payload| serde_json::from_slice(&payload))
            .map_err(|problem| unfit(letter, json_problem(&problem)))
    }

    pub(super) fn actor(&self, why: Option<String>) -> Actor {
        Actor {
            who: self.who.clone(),
            why,
        }
    }

    pub(super) async fn act(
        &self,
        letter: DeadLetter,
        step: Step,
    ) -> Result<DeadLetter, LetterError> {
        let (id, record) = (letter.id, letter.record_id());
        let restores = matches!(step, Step::Restore { .. });
        let reply = self.shared().apply(&record, step).await?;
        let letter = self.known(&id).await?;
        match reply {
            Reply::Recorded => {
                self.shared().count_letters().await;
                let act = letter.history.last().map(|act| act.kind.as_str());
                tracing::info!(handler = letter.handler, key = letter.key, letter = %id, act, who = self.who,
                    "a dead letter was changed");
                Ok(letter)
            }
            _ => {
                let state = letter.state;
                Err(if restores {
                    LetterError::NotRestorable { id, state }
                } else {
                    LetterError::LetterClosed { id, state }
                })
            }
        }
    }
}
