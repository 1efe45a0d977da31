//! From letters that nobody was told of to notices.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use idem_runtime::ledger::{NoteChange, unnotified_key};
use idem_runtime::protocol::{Record, RecordId, Settled, Settlement};
use idem_runtime::{DeadLetter, DeadLetterId, Error, LedgerError, Timestamp};
use serde::{Deserialize, Serialize};

use super::outbox::{Waiting, get, hashed, key, put};
use super::{Watching, stays_open};
use crate::alert::{Brief, Group, Notice, NoticeKind, kind_of_error};

/// The most letters in one notice; what is left is told of in the next digest.
const MOST: usize = 20_000;
const PAGE: usize = 1000;
/// Letters of a group that are shown.
const SHOWN: usize = 5;

/// What was told last, as the ledger keeps it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Told {
    /// When the running period began: with a digest, or the first letter after a silence.
    period: Option<Timestamp>,
    /// How often a new group was told of at once in it.
    at_once: u32,
}

const TOLD: &str = "alerts/told";

/// A group that people know of.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    last: Timestamp,
}

impl Watching {
    /// Puts what is due into the outbox; says whether there was something.
    pub(super) async fn gather(&self) -> Result<bool, Error> {
        let notes = self.idem.notes();
        let first = notes.list("untold/", None, 1).await?;
        if first.is_empty() || !self.channels.iter().any(|channel| !channel.escalation) {
            return Ok(false);
        }
        let now = self.idem.clock().now();
        let mut told: Told = get(&notes, TOLD).await?.unwrap_or_default();
        let period_over = told
            .period
            .is_none_or(|period| over(period, now, self.policy.digest_every));
        if !period_over && told.at_once >= self.policy.new_groups_at_once {
            return Ok(false);
        }
        let letters = self.untold().await?;
        if letters.is_empty() {
            return Ok(false);
        }
        let waits = self.that_can_wait(&letters).await?;
        let urgent = |id: &DeadLetterId| !waits.contains(id);
        // What can wait goes with the next digest, and makes none before its time.
        let oldest = letters
            .iter()
            .filter_map(|(_, letter)| letter.as_ref())
            .map(|letter| letter.died_at)
            .min();
        if letters.iter().all(|(id, _)| !urgent(id))
            && oldest.is_some_and(|oldest| !over(oldest, now, self.policy.digest_every))
        {
            return Ok(false);
        }
        let groups = grouped(&letters);
        let mut changes = Vec::new();
        let mut new = Vec::new();
        for (id, group) in &groups {
            let place = format!("alerts/groups/{id}");
            let known: Option<Known> = get(&notes, &place).await?;
            let is_new =
                known.is_none_or(|known| over(known.last, now, self.policy.group_forgotten_after));
            if is_new && group.letters.iter().any(urgent) {
                new.push(id.clone());
            }
            changes.push(put(place, &Known { last: now })?);
        }
        if !period_over && new.is_empty() {
            return Ok(false);
        }
        let kind = if new.is_empty() {
            NoticeKind::Digest
        } else {
            NoticeKind::NewGroup
        };
        told = if period_over {
            Told {
                period: Some(now),
                at_once: 0,
            }
        } else {
            Told {
                at_once: told.at_once + 1,
                ..told
            }
        };
        changes.push(put(TOLD.to_owned(), &told)?);
        // All that is untold goes along: nobody waits for a digest that tells what could be told
        // now.
        let notice = self
            .notice(
                kind,
                now,
                groups.into_values().map(|group| group.told).collect(),
            )
            .await?;
        changes.extend(self.addressed(&notice, false)?);
        for (id, letter) in &letters {
            changes.push(NoteChange::delete(unnotified_key(*id)));
            if let Some(letter) = letter
                && self.policy.escalate_after.is_some()
                && urgent(id)
            {
                changes.push(stays_open::watch(letter)?);
            }
        }
        notes.write(changes).await?;
        tracing::info!(notice = %notice.id, letters = letters.len(), "people are being told of dead letters");
        Ok(true)
    }

    /// The letters that nobody was told of; nothing where a letter is history and gone.
    async fn untold(&self) -> Result<Vec<(DeadLetterId, Option<DeadLetter>)>, Error> {
        let (notes, letters) = (self.idem.notes(), self.idem.dead_letters());
        let (mut found, mut after) = (Vec::new(), None::<String>);
        while found.len() < MOST {
            let page = notes.list("untold/", after.as_deref(), PAGE).await?;
            for note in &page {
                let id = note
                    .key
                    .strip_prefix("untold/")
                    .and_then(|id| id.parse().ok());
                if let Some(id) = id {
                    match letters.get(&id).await {
                        // People are told of the others, and of this one by a version that can read
                        // it.
                        Err(
                            error @ Error::Ledger {
                                problem: LedgerError::Record { .. },
                                ..
                            },
                        ) => {
                            tracing::warn!(letter = %id, %error, "a dead letter was passed over");
                        }
                        letter => found.push((id, letter?)),
                    }
                }
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.key),
                None => break,
            }
        }
        Ok(found)
    }

    /// The letters of messages whose key is that of one which is done: that work is not waiting for
    /// anybody.
    async fn that_can_wait(
        &self,
        letters: &[(DeadLetterId, Option<DeadLetter>)],
    ) -> Result<HashSet<DeadLetterId>, Error> {
        let mut waits = HashSet::new();
        for letter in letters.iter().filter_map(|(_, letter)| letter.as_ref()) {
            let Some(reused) = &letter.reused else {
                continue;
            };
            // It may have been at work when the other one came.
            let holder = RecordId::new(letter.handler.as_str(), letter.key.as_str());
            let is_done = |record| {
                matches!(
                    record,
                    Some(Record::Settled(Settled {
                        end: Settlement::Done(_),
                        ..
                    }))
                )
            };
            if reused.is_done() || is_done(self.idem.record(&holder).await?) {
                waits.insert(letter.id);
            }
        }
        Ok(waits)
    }

    pub(super) async fn notice(
        &self,
        kind: NoticeKind,
        now: Timestamp,
        groups: Vec<Group>,
    ) -> Result<Notice, Error> {
        let mut notice = Notice::new(kind, &self.service, now);
        notice.groups = groups;
        // The largest first: people read from the top.
        notice
            .groups
            .sort_by_key(|group| std::cmp::Reverse(group.count));
        notice.open = self.idem.dead_letters().count_open().await?;
        notice.dashboard.clone_from(&self.dashboard);
        Ok(notice)
    }

    /// The notice in the outbox of every channel that it is for.
    pub(super) fn addressed(
        &self,
        notice: &Notice,
        escalation: bool,
    ) -> Result<Vec<NoteChange>, Error> {
        let waiting = Waiting {
            notice: notice.clone(),
            tries: 0,
            next: notice.at,
            error: None,
        };
        // Where nobody is named for what stays open, those who know of it already are told again.
        let escalation = escalation && self.channels.iter().any(|channel| channel.escalation);
        let channels = self
            .channels
            .iter()
            .filter(|channel| channel.escalation == escalation);
        channels
            .map(|channel| put(key(channel.name(), notice), &waiting))
            .collect()
    }
}

/// A group, and all its letters.
pub(super) struct Gathered {
    pub(super) told: Group,
    letters: Vec<DeadLetterId>,
}

/// Letters by handler and kind of error, under a short name of the group.
pub(super) fn grouped(
    letters: &[(DeadLetterId, Option<DeadLetter>)],
) -> BTreeMap<String, Gathered> {
    let mut groups = BTreeMap::<String, Gathered>::new();
    // Newest first, as they are shown.
    for letter in letters
        .iter()
        .rev()
        .filter_map(|(_, letter)| letter.as_ref())
    {
        let error = kind_of_error(letter);
        let name = hashed(&[&letter.handler, &error]);
        let gathered = groups
            .entry(format!("{name:032x}"))
            .or_insert_with(|| Gathered {
                told: Group::new(&letter.handler, error, 0, letter.died_at),
                letters: Vec::new(),
            });
        gathered.letters.push(letter.id);
        let group = &mut gathered.told;
        group.count += 1;
        group.since = group.since.min(letter.died_at);
        if group.newest.len() < SHOWN {
            group.newest.push(Brief::from(letter));
        }
    }
    groups
}

/// Whether so much time has passed. A time in the future is one from before the clock stepped back,
/// and has.
pub(super) fn over(then: Timestamp, now: Timestamp, limit: Duration) -> bool {
    then > now || passed(then, now) >= limit
}

/// How long ago; nothing where the clock stepped back.
pub(super) fn passed(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}
