//! Makes notices and addresses them to channels.

use idem_runtime::clock::Timestamp;
use idem_runtime::ledger::LedgerError;
use idem_runtime::ledger::NoteChange;

use super::Watching;
use super::store::{Pending, key, put};
use crate::alert::{Group, Notice, NoticeKind};

impl Watching {
    pub(super) async fn notice(
        &self,
        kind: NoticeKind,
        now: Timestamp,
        groups: Vec<Group>,
    ) -> Result<Notice, LedgerError> {
        let mut notice = Notice::new(kind, &self.service, now);
        notice.groups = groups;
        // The largest group first.
        notice
            .groups
            .sort_by_key(|group| std::cmp::Reverse(group.count));
        notice.open = self.idem.dead_letters().count_open().await?;
        notice.dashboard.clone_from(&self.dashboard);
        Ok(notice)
    }

    /// Returns the changes that store the notice for each of its channels.
    pub(super) fn addressed(
        &self,
        notice: &Notice,
        escalation: bool,
    ) -> Result<Vec<NoteChange>, LedgerError> {
        let pending = Pending {
            notice: notice.clone(),
            tries: 0,
            next: notice.at,
            error: None,
        };
        // Without an escalation channel, the other channels get the escalation.
        let escalation = escalation && self.channels.iter().any(|channel| channel.escalation);
        let channels = self
            .channels
            .iter()
            .filter(|channel| channel.escalation == escalation);
        channels
            .map(|channel| put(key(channel.name(), notice), &pending))
            .collect()
    }
}
