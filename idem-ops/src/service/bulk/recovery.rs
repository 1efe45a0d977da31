//! Settles a batch that a stop of the service or an error interrupted.

use idem_runtime::dead_letters::{Action, ActionKind, Actor};
use idem_runtime::notes::ExpectedNote;
use idem_runtime::protocol::{Record, Settlement};
use idem_runtime::{DeadLetter, LetterState};

use super::BulkAction;
use super::job::StoredJob;
use crate::service::audit::Outcome;
use crate::service::{Inner, ServiceError};

impl Inner {
    /// Finds out what became of an interrupted batch. Its letters that are still open are taken
    /// again. Returns whether that was stored: not if the job's note has changed.
    pub(super) async fn settle(
        &self,
        job: &mut StoredJob,
        guard: &ExpectedNote,
    ) -> Result<bool, ServiceError> {
        let expected = vec![job.unchanged(), guard.clone()];
        let action = job.bulk.asked.action;
        let by = Actor {
            who: Some(job.bulk.who.clone()),
            why: Some(job.bulk.asked.why.clone()),
        };
        let is_ours = |act: &Action| {
            let same = if action == BulkAction::Discard {
                act.kind == ActionKind::Discarded
            } else {
                act.kind == ActionKind::Redriven
            };
            same && act.by == by
        };
        let mut entries = Vec::new();
        for (id, entry) in std::mem::take(&mut job.batch) {
            let outcome = match self.idem.dead_letters().get(&id).await? {
                Some(letter) if letter.state == LetterState::Open => {
                    job.again.push(id);
                    Outcome::Refused(
                        "the service stopped before it was done: the bulk job takes it again"
                            .to_owned(),
                    )
                }
                // A failed publishing is in the history too, so only the last action counts.
                Some(letter) if !letter.history.last().is_some_and(is_ours) => {
                    job.bulk.skipped += 1;
                    Outcome::Refused("another action had closed it".to_owned())
                }
                Some(letter) => match self.interruption(action, &letter).await? {
                    None => {
                        job.bulk.done += 1;
                        Outcome::Done
                    }
                    Some(error) => {
                        job.bulk.skipped += 1;
                        job.problem(letter.id, error.to_owned());
                        Outcome::Failed(error.to_owned())
                    }
                },
                None => {
                    job.bulk.skipped += 1;
                    Outcome::Begun
                }
            };
            if let Some(mut entry) = self.audit_log.entry(entry).await? {
                entry.outcome = outcome;
                entries.push(entry);
            }
        }
        let note = vec![job.note()?];
        let settled = self.audit_log.end(&entries, note, expected).await?;
        if settled {
            job.was_stored()?;
        }
        Ok(settled)
    }

    /// Returns what the stop interrupted of a letter that was redriven, if anything.
    async fn interruption(
        &self,
        action: BulkAction,
        letter: &DeadLetter,
    ) -> Result<Option<&'static str>, ServiceError> {
        let id = letter.record_id();
        Ok(match action {
            BulkAction::Rearm | BulkAction::Discard => None,
            BulkAction::Run => match self.idem.record(&id).await? {
                Some(Record::Settled(settled)) if matches!(settled.end, Settlement::Done(_)) => {
                    None
                }
                _ => Some(
                    "the service stopped during its run: it runs again when the message comes again, \
                     and becomes a dead letter again if it does not come",
                ),
            },
            BulkAction::Publish => match self.idem.record(&id).await? {
                // The message has not come yet, so it is unknown whether the broker has it.
                Some(Record::Live(live))
                    if live
                        .redriven
                        .as_ref()
                        .is_some_and(|of| of.letter == letter.id) =>
                {
                    Some(
                        "the service stopped while it was being published: it runs when the broker \
                         brings it, and becomes a dead letter again if it does not come",
                    )
                }
                _ => None,
            },
        })
    }
}
