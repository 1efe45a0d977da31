//! Handlers that are paused: a notice when that begins, while it lasts, and when it is over.

use std::collections::BTreeMap;

use idem_runtime::clock::Timestamp;
use idem_runtime::ledger::{LedgerError, NoteChange};
use idem_runtime::notes::ExpectedNote;
use idem_runtime::pause::Pause;
use serde::{Deserialize, Serialize};

use super::Watching;
use super::store::{hashed, put, read};
use super::time::over;
use crate::alert::{NoticeKind, PausedHandler};

const PLACE: &str = "alerts/pauses/";
const PAGE: usize = 1000;

/// A pause as people know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Told {
    pause: Pause,
    /// When the last notice of it was made.
    at: Timestamp,
}

impl Watching {
    /// Stores the notices of pauses that are due. Returns whether there was one.
    pub(super) async fn tell_pauses(&self, guard: &ExpectedNote) -> Result<bool, LedgerError> {
        let (notes, now) = (self.idem.notes(), self.idem.clock().now());
        let mut told = BTreeMap::<String, Told>::new();
        for note in notes.list(PLACE, None, PAGE).await? {
            told.insert(note.key.clone(), read(&note)?);
        }
        let pauses = self.idem.pauses().await?;
        let mut changes = Vec::new();
        let (mut begun, mut lasting, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        for pause in pauses {
            let key = format!("{PLACE}{:032x}", hashed(&[&pause.handler]));
            let before = told.remove(&key);
            let same = before
                .as_ref()
                .filter(|told| told.pause.since == pause.since);
            let at = match same {
                None => {
                    begun.push(PausedHandler::new(&pause, now));
                    now
                }
                Some(told) if over(told.at, now, self.policy.still_paused_every) => {
                    lasting.push(PausedHandler::new(&pause, now));
                    now
                }
                Some(told) => told.at,
            };
            // Its note is gone when it is over: how many it turned away is kept here.
            let next = Told { pause, at };
            if before.as_ref() != Some(&next) {
                changes.push(put(key, &next)?);
            }
        }
        for (key, Told { pause, .. }) in told {
            ended.push(PausedHandler::new(&pause, now));
            changes.push(NoteChange::delete(key));
        }
        let mut any = false;
        for (kind, handlers) in [
            (NoticeKind::Paused, begun),
            (NoticeKind::StillPaused, lasting),
            (NoticeKind::Resumed, ended),
        ] {
            if handlers.is_empty() {
                continue;
            }
            let mut notice = self.notice(kind, now, Vec::new()).await?;
            notice.paused = handlers;
            changes.extend(self.addressed(&notice, false)?);
            any = true;
        }
        if changes.is_empty() {
            return Ok(false);
        }
        Ok(notes.write_if(changes, vec![guard.clone()]).await? && any)
    }
}
