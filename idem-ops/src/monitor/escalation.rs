//! Letters that stay open for too long.

use idem_runtime::ledger::NoteChange;
use idem_runtime::notes::ExpectedNote;
use idem_runtime::{DeadLetter, DeadLetterId, LetterState, clock::Timestamp, ledger::LedgerError};
use serde::{Deserialize, Serialize};

use super::Watching;
use super::group::group_letters;
use super::store::{get, put, read};
use super::time::over;
use crate::alert::NoticeKind;

const PLACE: &str = "alerts/stays/";
const LAST: &str = "alerts/escalated";
const PAGE: usize = 1000;

/// A letter that was in a notice.
#[derive(Debug, Serialize, Deserialize)]
struct Since {
    died_at: Timestamp,
}

/// Returns the note that makes the monitor watch whether the letter is closed. The notes' keys sort
/// by the time of death.
pub(super) fn watch(letter: &DeadLetter) -> Result<NoteChange, LedgerError> {
    put(
        format!("{PLACE}{}", letter.id),
        &Since {
            died_at: letter.died_at,
        },
    )
}

impl Watching {
    /// Stores a notice of letters that are still open, if one is due. Returns whether there was one.
    pub(super) async fn escalate(&self, guard: &ExpectedNote) -> Result<bool, LedgerError> {
        let Some(limit) = self.policy.escalate_after else {
            return Ok(false);
        };
        let (notes, now) = (self.idem.notes(), self.idem.clock().now());
        let last: Option<Timestamp> = get(&notes, LAST).await?;
        if last.is_some_and(|last| !over(last, now, self.policy.digest_every)) {
            return Ok(false);
        }
        let (mut late, mut changes, mut escalated) = (Vec::new(), Vec::new(), None);
        for note in notes.list(PLACE, None, PAGE).await? {
            let Since { died_at } = read(&note)?;
            if !over(died_at, now, limit) {
                break;
            }
            if let Some(id) = note
                .key
                .strip_prefix(PLACE)
                .and_then(|id| id.parse::<DeadLetterId>().ok())
            {
                let letter = match self.idem.dead_letters().get(&id).await {
                    // A version that can read it makes its notice.
                    Err(LedgerError::Record { .. }) => continue,
                    letter => letter?,
                };
                late.extend(
                    letter
                        .filter(|letter| letter.state == LetterState::Open)
                        .map(|letter| (id, Some(letter))),
                );
            }
            changes.push(NoteChange::delete(note.key));
        }
        if !late.is_empty() {
            let groups = group_letters(&late)
                .into_values()
                .map(|group| group.shown)
                .collect();
            let notice = self.notice(NoticeKind::Escalation, now, groups).await?;
            changes.extend(self.addressed(&notice, true)?);
            changes.push(put(LAST.to_owned(), &now)?);
            escalated = Some(notice.id);
        }
        if changes.is_empty() || !notes.write_if(changes, vec![guard.clone()]).await? {
            return Ok(false);
        }
        if let Some(notice) = &escalated {
            tracing::warn!(%notice, letters = late.len(), "dead letters stay open: an escalation is being sent");
        }
        Ok(escalated.is_some())
    }
}
