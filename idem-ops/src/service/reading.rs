//! What people ask: pages of letters, one letter, groups.

use idem_runtime::{DeadLetter, DeadLetterId, LetterState};
use serde_json::Value;

use super::error::ServiceError;
use super::groups::{GroupPage, GroupQuery};
use super::journal::limit;
use super::kind::kind_of_error;
use super::letters::{LetterLine, LetterPage, LetterQuery, LetterView};
use super::{Inner, Service};

/// What stands in a payload where something was redacted.
const REDACTED: &str = "[redacted]";

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
                match letters.get(&id).await? {
                    // The index says where to look; what is shown is as the ledger has it.
                    Some(letter) if query.takes(&letter) => lines.push(self.inner.line(&letter)),
                    Some(letter) => self.inner.index.put(&letter),
                    None => self.inner.index.forget(id),
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
        LetterView {
            kind: kind_of_error(&letter),
            redacted: redacted(&letter),
            can_run: why_not.is_none(),
            why_not,
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
        }
    }

    /// Why the letter cannot be run from here, if it cannot.
    pub(super) fn why_not(&self, letter: &DeadLetter) -> Option<String> {
        match letter.state {
            LetterState::Redriven => return Some("it was redriven already: look at its key's story".to_owned()),
            LetterState::Discarded => return Some("it is discarded: restore it first".to_owned()),
            _ => {}
        }
        let handler = &letter.handler;
        if !self.idem.can_redrive(handler) {
            return Some(format!(
                "handler `{handler}` is not registered in this service: register it with \
                 `idem.redrive_with(\"{handler}\", …)`, or redrive without running and publish the message again"
            ));
        }
        let missing = redacted(letter);
        (!missing.is_empty())
            .then(|| format!("redacted parts have no value: edit the payload and fill in `{}`", missing.join("`, `")))
    }
}

/// The paths in the payload that were redacted and are not filled in.
fn redacted(letter: &DeadLetter) -> Vec<String> {
    let mut paths = Vec::new();
    gather("", &letter.payload, &mut paths);
    paths
}

fn gather(path: &str, value: &Value, paths: &mut Vec<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::String(text) if text == REDACTED => paths.push(path.to_owned()),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| gather(&below(name), value, paths)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, value)| gather(&below(&place.to_string()), value, paths));
        }
        _ => {}
    }
}
