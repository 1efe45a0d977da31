//! What people ask: pages of letters, one letter, groups.

use idem_runtime::{DeadLetter, DeadLetterId, Deed, Error, LedgerError, LetterState, Origin};

use super::error::ServiceError;
use super::groups::{GroupPage, GroupQuery};
use super::journal::limit;
use super::letters::{LetterLine, LetterPage, LetterQuery, LetterView};
use super::{Inner, Service};
use crate::alert::kind_of_error;

impl Service {
    /// One page of letters, newest first: found in the index, read from the ledger.
    ///
    /// # Errors
    /// `limit` is out of range, or the ledger cannot be read.
    pub async fn letters(&self, query: &LetterQuery) -> Result<LetterPage, ServiceError> {
        let limit = limit(query.limit)?;
        self.inner.refresh().await?;
        let letters = self.inner.idem.dead_letters();
        let mut lines = Vec::new();
        let mut below = query.after;
        loop {
            // One more tells whether there is another page.
            let found = self.inner.index.find(query, below, limit + 1);
            let read = found.ids.len();
            for id in found.ids {
                below = Some(id);
                match letters.get(&id).await {
                    // The index says where to look; what is shown is as the ledger has it.
                    Ok(Some(letter)) if query.takes(&letter) => lines.push(self.inner.line(&letter)),
                    Ok(Some(letter)) => self.inner.index.put(&letter),
                    Ok(None) => self.inner.index.forget(id),
                    // It keeps no other from being seen.
                    Err(error @ Error::Ledger { problem: LedgerError::Record { .. }, .. }) => {
                        tracing::error!(letter = %id, %error, "a dead letter was passed over");
                    }
                    Err(error) => return Err(error.into()),
                }
                if lines.len() > limit {
                    break;
                }
            }
            if lines.len() > limit || read <= limit {
                let more = lines.len() > limit;
                lines.truncate(limit);
                let next = lines.last().filter(|_| more).map(|line| line.id);
                return Ok(LetterPage { letters: lines, next, total: found.total, complete: found.complete });
            }
        }
    }

    /// One letter in full.
    ///
    /// # Errors
    /// There is no such letter, or the ledger cannot be read.
    pub async fn letter(&self, id: &DeadLetterId) -> Result<LetterView, ServiceError> {
        let letter = self.inner.known(id).await?;
        self.inner.index.put(&letter);
        Ok(self.view(letter))
    }

    /// Open letters by handler and kind of error, from the index: it costs what there are groups, not letters.
    ///
    /// # Errors
    /// `limit` is out of range, or the ledger cannot be read.
    pub async fn groups(&self, query: &GroupQuery) -> Result<GroupPage, ServiceError> {
        let limit = limit(query.limit)?;
        self.inner.refresh().await?;
        let mut page = self.inner.index.groups(query.handler.as_deref(), limit);
        for group in &mut page.groups {
            group.can_run = self.inner.idem.can_redrive(&group.handler);
        }
        Ok(page)
    }

    pub(super) fn view(&self, letter: DeadLetter) -> LetterView {
        let why_not = self.inner.why_not(&letter);
        let why_not_publish = self.inner.why_not_publish(&letter);
        LetterView {
            kind: kind_of_error(&letter),
            redacted: redacted(&letter),
            can_run: why_not.is_none(),
            why_not,
            can_publish: why_not_publish.is_none(),
            why_not_publish,
            letter,
        }
    }
}

impl LetterQuery {
    fn takes(&self, letter: &DeadLetter) -> bool {
        self.state.takes(letter.state)
            && self.handler.as_ref().is_none_or(|handler| *handler == letter.handler)
            && self.key.as_ref().is_none_or(|key| *key == letter.key)
            && self.error.as_ref().is_none_or(|error| *error == kind_of_error(letter))
    }
}

impl Inner {
    pub(super) fn line(&self, letter: &DeadLetter) -> LetterLine {
        let why_not = self.why_not(letter);
        LetterLine {
            id: letter.id,
            handler: letter.handler.clone(),
            key: letter.key.clone(),
            state: letter.state,
            reason: letter.reason,
            error: letter.last_error().map(str::to_owned),
            kind: kind_of_error(letter),
            attempts: u32::try_from(letter.attempts.len()).unwrap_or(u32::MAX),
            first_seen: letter.first_seen,
            died_at: letter.died_at,
            closed_at: letter.closed_at,
            can_run: why_not.is_none(),
            why_not,
            can_publish: self.why_not_publish(letter).is_none(),
        }
    }

    /// Why the letter cannot be run from here, if it cannot.
    pub(super) fn why_not(&self, letter: &DeadLetter) -> Option<String> {
        let handler = &letter.handler;
        let unknown = || {
            (!self.idem.can_redrive(handler)).then(|| {
                format!(
                    "handler `{handler}` is not registered in this service: register it with \
                     `idem.redrive_with(\"{handler}\", …)`, or redrive without running and publish the message again"
                )
            })
        };
        closed(letter).or_else(unknown).or_else(|| not_whole(letter))
    }

    /// Why the letter's message cannot be published back from here, if it cannot.
    pub(super) fn why_not_publish(&self, letter: &DeadLetter) -> Option<String> {
        let no_way = || {
            let Some(place) = letter.origin.as_ref().map(Origin::place) else {
                return Some("no broker brought it: run it, or redrive it and call its handler".to_owned());
            };
            (!self.idem.can_republish(&place)).then(|| {
                format!(
                    "this service has no publisher for `{place}`: register one with \
                     `idem.republish_with(\"{place}\", …)`"
                )
            })
        };
        closed(letter).or_else(no_way).or_else(|| not_whole(letter)).or_else(|| cut_off(letter))
    }
}

fn closed(letter: &DeadLetter) -> Option<String> {
    match letter.state {
        LetterState::Redriven => Some("it was redriven already: look at its key's story".to_owned()),
        LetterState::Discarded => Some("it is discarded: restore it first".to_owned()),
        _ => None,
    }
}

fn not_whole(letter: &DeadLetter) -> Option<String> {
    let missing = redacted(letter);
    (!missing.is_empty()).then(|| {
        format!(
            "redacted parts were never stored: run it with a payload in which `{}` is filled in",
            missing.join("`, `")
        )
    })
}

/// The message was too large to be stored, and nobody has completed it.
fn cut_off(letter: &DeadLetter) -> Option<String> {
    let edited = letter.history.iter().any(|act| matches!(act.deed, Deed::Edited(_)));
    letter.cut_from.filter(|_| !edited).map(|size| {
        format!(
            "it holds only the beginning of its message, which has {size} bytes: edit it so that it is whole, or publish \
             the message from where it came from"
        )
    })
}

/// The paths in the payload that were redacted and are not filled in.
fn redacted(letter: &DeadLetter) -> Vec<String> {
    letter.missing().map(str::to_owned).collect()
}
