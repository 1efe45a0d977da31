//! What people ask: pages of letters, one letter, groups.

use idem_runtime::{
    DeadLetter, DeadLetterId, Error, Filter, LetterState, Origin, dead_letters::Reason,
    ledger::LedgerError,
};

use super::error::ServiceError;
use super::groups::{GroupPage, GroupQuery};
use super::journal::limit;
use super::letters::{LetterLine, LetterPage, LetterQuery, LetterView, StateFilter};
use super::{Inner, Service};
use crate::alert::kind_of_error;

/// Letters that one page looks at beyond the index, and how many are read from the ledger at once.
const OLDER: usize = 10_000;
const OLDER_AT_ONCE: usize = 256;

impl Service {
    /// One page of letters, newest first: found in the index, read from the ledger. Letters that
    /// are older than those in the index are looked through 10,000 a page.
    ///
    /// # Errors
    /// `limit` is out of range, or the ledger cannot be read.
    pub async fn letters(&self, query: &LetterQuery) -> Result<LetterPage, ServiceError> {
        let limit = limit(query.limit)?;
        self.inner.refresh().await?;
        let letters = self.inner.idem.dead_letters();
        let earlier = self.inner.earlier_names(query);
        let mut lines = Vec::new();
        let mut below = query.after;
        let (total, reach) = loop {
            // One more tells whether there is another page.
            let found = self.inner.index.find(query, &earlier, below, limit + 1);
            let read = found.ids.len();
            for id in found.ids {
                below = Some(id);
                match letters.get(&id).await {
                    // The index says where to look; what is shown is as the ledger has it.
                    Ok(Some(letter)) if query.takes(&letter, &earlier) => {
                        lines.push(self.inner.line(&letter))
                    }
                    Ok(Some(letter)) => self.inner.index.put(&letter),
                    Ok(None) => self.inner.index.forget(id),
                    // It keeps no other from being seen.
                    Err(
                        error @ Error::Ledger {
                            problem: LedgerError::Record { .. },
                            ..
                        },
                    ) => {
                        tracing::error!(letter = %id, %error, "a dead letter was passed over");
                    }
                    Err(error) => return Err(error.into()),
                }
                if lines.len() > limit {
                    break;
                }
            }
            if lines.len() > limit || read <= limit {
                break (found.total, found.reach);
            }
        };
        let (mut next, floor) = (None, reach.floor());
        if let Some(floor) = floor.filter(|_| lines.len() <= limit) {
            let from = below.map_or(floor, |below| below.min(floor));
            let older = self
                .inner
                .older(query, &earlier, from, limit + 1 - lines.len())
                .await?;
            lines.extend(older.letters.iter().map(|letter| self.inner.line(letter)));
            next = older.looked_at;
        }
        if lines.len() > limit {
            lines.truncate(limit);
            next = lines.last().map(|line| line.id);
        }
        let (total, at_least) = self.inner.total(query, total, floor.is_some()).await?;
        Ok(LetterPage {
            letters: lines,
            next,
            total,
            complete: reach.is_known(),
            at_least,
        })
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

    /// Open letters by handler and kind of error, from the index: it costs what there are groups,
    /// not letters.
    ///
    /// # Errors
    /// `limit` is out of range, or the ledger cannot be read.
    pub async fn groups(&self, query: &GroupQuery) -> Result<GroupPage, ServiceError> {
        let limit = limit(query.limit)?;
        self.inner.refresh().await?;
        let mut page = self.inner.index.groups(query.handler.as_deref(), limit);
        for group in &mut page.groups {
            group.can_run = self.inner.idem.has_handler(&group.handler);
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
    /// Whether it asks for letters of this handler, which may stand under a name that the one asked
    /// for had before.
    pub(super) fn is_of(&self, handler: &String, earlier: &[String]) -> bool {
        self.handler
            .as_ref()
            .is_none_or(|wanted| wanted == handler || earlier.contains(handler))
    }

    fn takes(&self, letter: &DeadLetter, earlier: &[String]) -> bool {
        self.state.takes(letter.state)
            && self.is_of(&letter.handler, earlier)
            && self.key.as_ref().is_none_or(|key| *key == letter.key)
            && self
                .error
                .as_ref()
                .is_none_or(|error| *error == kind_of_error(letter))
    }
}

/// Letters older than those in the index.
pub(super) struct Older {
    pub(super) letters: Vec<DeadLetter>,
    /// The last one that was looked at, where there are more to look at.
    pub(super) looked_at: Option<DeadLetterId>,
}

impl Inner {
    /// Looks through the ledger itself, from here on: for so many letters at most, and no further
    /// than one page's work.
    pub(super) async fn older(
        &self,
        query: &LetterQuery,
        earlier: &[String],
        below: DeadLetterId,
        most: usize,
    ) -> Result<Older, Error> {
        let letters = self.idem.dead_letters();
        let (mut found, mut after, mut seen) = (Vec::new(), below, 0);
        loop {
            let filter = Filter::default().after(after).limit(OLDER_AT_ONCE);
            // The ledger keeps open letters apart from those that are history.
            let filter = if query.state == StateFilter::Open {
                filter
            } else {
                filter.any_state()
            };
            let page = letters.list(&filter).await?;
            let last = page.len() < OLDER_AT_ONCE;
            for letter in page {
                (after, seen) = (letter.id, seen + 1);
                if query.takes(&letter, earlier) {
                    found.push(letter);
                }
                if found.len() == most {
                    return Ok(Older {
                        letters: found,
                        looked_at: Some(after),
                    });
                }
            }
            if last || seen >= OLDER {
                return Ok(Older {
                    letters: found,
                    looked_at: (!last).then_some(after),
                });
            }
        }
    }

    /// How many letters fit, and whether that leaves out older ones than the index holds.
    pub(super) async fn total(
        &self,
        query: &LetterQuery,
        known: u64,
        older: bool,
    ) -> Result<(u64, bool), Error> {
        let all_open = LetterQuery {
            after: None,
            limit: None,
            ..query.clone()
        } == LetterQuery::default();
        if older && all_open {
            return Ok((self.idem.dead_letters().count_open().await?, false));
        }
        Ok((known, older))
    }

    /// The names that the handler asked for had before.
    pub(super) fn earlier_names(&self, query: &LetterQuery) -> Vec<String> {
        query
            .handler
            .as_ref()
            .map(|handler| self.idem.earlier_names(handler))
            .unwrap_or_default()
    }

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
            (!self.idem.has_handler(handler)).then(|| {
                format!(
                    "handler `{handler}` is not registered in this service: register it with \
                     `idem.register_handler(\"{handler}\", …)`, or redrive without running and publish the message again"
                )
            })
        };
        closed(letter)
            .or_else(unknown)
            .or_else(|| key_reused(letter))
            .or_else(|| not_whole(letter))
            .or_else(|| cut_off(letter))
    }

    /// Why the letter's message cannot be published back from here, if it cannot.
    pub(super) fn why_not_publish(&self, letter: &DeadLetter) -> Option<String> {
        let no_way = || {
            let Some(place) = letter.origin.as_ref().map(Origin::place) else {
                return Some(
                    "no broker brought it: run it, or redrive it and call its handler".to_owned(),
                );
            };
            (!self.idem.can_republish(&place)).then(|| {
                format!(
                    "this service has no publisher for `{place}`: register one with \
                     `idem.register_publisher(\"{place}\", …)`"
                )
            })
        };
        closed(letter)
            .or_else(no_way)
            .or_else(|| not_whole(letter))
            .or_else(|| cut_off(letter))
    }
}

fn closed(letter: &DeadLetter) -> Option<String> {
    match letter.state {
        LetterState::Redriven => {
            Some("it was redriven already: look at its key's story".to_owned())
        }
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

/// The message's key is another's, and no person has given it one of its own.
fn key_reused(letter: &DeadLetter) -> Option<String> {
    (letter.reason == Reason::KeyReused && !letter.is_edited()).then(|| {
        "its key is another message's: edit the payload so that it has a key of its own, and run that; or discard it".to_owned()
    })
}

/// The message was too large to be stored, and nobody has completed it.
fn cut_off(letter: &DeadLetter) -> Option<String> {
    letter.cut_off().map(|size| {
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
