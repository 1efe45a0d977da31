//! Turns letters that are in no notice into one: a digest, or the news of a group.

use std::collections::HashSet;

use idem_runtime::clock::Timestamp;
use idem_runtime::ledger::LedgerError;
use idem_runtime::ledger::{NoteChange, unnotified_key};
use idem_runtime::notes::ExpectedNote;
use idem_runtime::protocol::{Record, RecordId, Settled, Settlement};
use idem_runtime::{DeadLetter, DeadLetterId};
use serde::{Deserialize, Serialize};

use super::group::group_letters;
use super::store::{get, put};
use super::time::over;
use super::{Watching, escalation};
use crate::alert::NoticeKind;

/// The most letters in one notice; the others are in the next digest.
const MOST: usize = 20_000;
const PAGE: usize = 1000;

/// The current period, as the ledger keeps it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Period {
    /// When it began: with a digest, or the first letter after a silence.
    period: Option<Timestamp>,
    /// How many notices of new groups were made at once in it.
    at_once: u32,
}

const PERIOD: &str = "alerts/told";

/// A group that was in a notice.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    last: Timestamp,
}

impl Watching {
    /// Stores the notice that is due. Returns whether there was one.
    pub(super) async fn digest(&self, guard: &ExpectedNote) -> Result<bool, LedgerError> {
        let notes = self.idem.notes();
        let first = notes.list("untold/", None, 1).await?;
        if first.is_empty() || !self.channels.iter().any(|channel| !channel.escalation) {
            return Ok(false);
        }
        let now = self.idem.clock().now();
        let mut current: Period = get(&notes, PERIOD).await?.unwrap_or_default();
        let period_over = current
            .period
            .is_none_or(|period| over(period, now, self.policy.digest_every));
        if !period_over && current.at_once >= self.policy.new_groups_at_once {
            return Ok(false);
        }
        let letters = self.unnotified().await?;
        if letters.is_empty() {
            return Ok(false);
        }
        let waits = self.not_urgent(&letters).await?;
        let urgent = |id: &DeadLetterId| !waits.contains(id);
        // A letter that is not urgent goes with the next digest, and makes none before its time.
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
        let groups = group_letters(&letters);
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
        current = if period_over {
            Period {
                period: Some(now),
                at_once: 0,
            }
        } else {
            Period {
                at_once: current.at_once + 1,
                ..current
            }
        };
        changes.push(put(PERIOD.to_owned(), &current)?);
        // The notice has all letters, so that none waits for a digest without need.
        let notice = self
            .notice(
                kind,
                now,
                groups.into_values().map(|group| group.shown).collect(),
            )
            .await?;
        changes.extend(self.addressed(&notice, false)?);
        for (id, letter) in &letters {
            changes.push(NoteChange::delete(unnotified_key(*id)));
            if let Some(letter) = letter
                && self.policy.escalate_after.is_some()
                && urgent(id)
            {
                changes.push(escalation::watch(letter)?);
            }
        }
        if !notes.write_if(changes, vec![guard.clone()]).await? {
            return Ok(false);
        }
        tracing::info!(notice = %notice.id, letters = letters.len(), "a notice of dead letters is being sent");
        Ok(true)
    }

    /// Returns the letters that are in no notice; `None` for a letter that was removed.
    async fn unnotified(&self) -> Result<Vec<(DeadLetterId, Option<DeadLetter>)>, LedgerError> {
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
                        // A version that can read it makes its notice.
                        Err(error @ LedgerError::Record { .. }) => {
                            tracing::warn!(letter = %id, %error, "a dead letter cannot be read; it was skipped");
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

    /// Returns the letters of messages that reused the key of a finished one: no work waits for them.
    async fn not_urgent(
        &self,
        letters: &[(DeadLetterId, Option<DeadLetter>)],
    ) -> Result<HashSet<DeadLetterId>, LedgerError> {
        let mut waits = HashSet::new();
        for letter in letters.iter().filter_map(|(_, letter)| letter.as_ref()) {
            let Some(reused) = &letter.reused else {
                continue;
            };
            // The other one may have finished since.
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
}
