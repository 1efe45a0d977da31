//! Queries for letters: a page of them, one of them, and their groups.

use idem_runtime::ledger::LedgerError;
use idem_runtime::{DeadLetter, DeadLetterId, Filter};

use super::audit_log::page_limit;
use super::eligibility::redacted;
use super::error::ServiceError;
use super::groups::{Group, GroupPage, GroupQuery};
use super::letters::{LetterLine, LetterPage, LetterQuery, LetterView, StateFilter};
use super::{Inner, Service};
use crate::alert::kind_of_error;

/// The number of letters beyond the index that one page searches, and that are read at once.
const OLDER: usize = 10_000;
const OLDER_AT_ONCE: usize = 256;

impl Service {
    /// Returns one page of letters, newest first: found in the index, read from the ledger. Beyond
    /// the index a page searches 10,000 older letters.
    ///
    /// # Errors
    /// `limit` is out of range, or the ledger cannot be read.
    pub async fn letters(&self, query: &LetterQuery) -> Result<LetterPage, ServiceError> {
        let limit = page_limit(query.limit)?;
        self.inner.refresh().await?;
        let letters = self.inner.idem.dead_letters();
        let earlier = self.inner.earlier_names(query);
        let mut lines = Vec::new();
        let mut below = query.after;
        let (total, reach) = loop {
            // One more shows whether there is another page.
            let found = self.inner.index.find(query, &earlier, below, limit + 1);
            let read = found.ids.len();
            for id in found.ids {
                below = Some(id);
                match letters.get(&id).await {
                    // The index may be stale; the letter is checked as the ledger has it.
                    Ok(Some(letter)) if query.takes(&letter, &earlier) => {
                        lines.push(self.inner.line(&letter));
                    }
                    Ok(Some(letter)) => self.inner.index.put(&letter),
                    Ok(None) => self.inner.index.forget(id),
                    // One unreadable letter does not hide the others.
                    Err(error @ LedgerError::Record { .. }) => {
                        tracing::error!(letter = %id, %error, "skipped an unreadable dead letter");
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

    /// Returns one letter in full.
    ///
    /// # Errors
    /// The letter does not exist, or the ledger cannot be read.
    pub async fn letter(&self, id: &DeadLetterId) -> Result<LetterView, ServiceError> {
        let letter = self.inner.known(id).await?;
        self.inner.index.put(&letter);
        Ok(self.view(letter))
    }

    /// Returns the open letters by handler and kind of error, from the index: the cost grows with
    /// the groups, not the letters.
    ///
    /// # Errors
    /// `limit` is out of range, or the ledger cannot be read.
    pub async fn groups(&self, query: &GroupQuery) -> Result<GroupPage, ServiceError> {
        let limit = page_limit(query.limit)?;
        self.inner.refresh().await?;
        let mut page = self.inner.index.groups(query.handler.as_deref(), limit);
        for group in &mut page.groups {
            group.can_run = self.can_run(group).await;
        }
        Ok(page)
    }

    /// Whether the newest letter of a group, and so most probably the others, can be run here.
    async fn can_run(&self, group: &Group) -> bool {
        let idem = &self.inner.idem;
        if idem.has_handler(&group.handler) {
            return true;
        }
        let Some(newest) = group.newest.first() else {
            return false;
        };
        // One unreadable letter does not hide the groups.
        let letter = idem.dead_letters().get(newest).await;
        letter.is_ok_and(|letter| letter.is_some_and(|letter| idem.can_run(&letter)))
    }

    pub(super) fn view(&self, letter: DeadLetter) -> LetterView {
        let why_not = self.inner.why_not_run(&letter);
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
    /// Whether it takes this handler: the one that it names, or one of its earlier names.
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

/// Letters that are older than the index.
pub(super) struct Older {
    pub(super) letters: Vec<DeadLetter>,
    /// The last one that was searched, if there are more.
    pub(super) looked_at: Option<DeadLetterId>,
}

impl Inner {
    /// Searches the ledger itself below a letter, until it has `most` letters or one page's work is
    /// done.
    pub(super) async fn older(
        &self,
        query: &LetterQuery,
        earlier: &[String],
        below: DeadLetterId,
        most: usize,
    ) -> Result<Older, LedgerError> {
        let letters = self.idem.dead_letters();
        let (mut found, mut after, mut seen) = (Vec::new(), below, 0);
        loop {
            let filter = Filter::default().after(after).limit(OLDER_AT_ONCE);
            // The ledger keeps open letters apart from closed ones.
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

    /// Returns how many letters match, and whether that leaves out letters older than the index.
    pub(super) async fn total(
        &self,
        query: &LetterQuery,
        known: u64,
        older: bool,
    ) -> Result<(u64, bool), LedgerError> {
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

    /// Returns the earlier names of the query's handler.
    pub(super) fn earlier_names(&self, query: &LetterQuery) -> Vec<String> {
        query
            .handler
            .as_ref()
            .map(|handler| self.idem.earlier_names(handler))
            .unwrap_or_default()
    }

    /// Describes a letter in one line.
    pub(super) fn line(&self, letter: &DeadLetter) -> LetterLine {
        let why_not = self.why_not_run(letter);
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
}
