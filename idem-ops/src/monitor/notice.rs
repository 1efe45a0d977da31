//! Makes notices and addresses them to channels.

use idem_runtime::clock::Timestamp;
use idem_runtime::ledger::LedgerError;
use idem_runtime::ledger::NoteChange;

use super::Watching;
use super::route::part_for;
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
        // Without an escalation channel, the other channels get the escalation.
        let escalation = escalation && self.channels.iter().any(|channel| channel.escalation);
        let channels = self.channels.iter();
        let channels: Vec<_> = channels
            .filter(|channel| channel.escalation == escalation)
            .collect();
        let mut changes = Vec::new();
        for channel in &channels {
            let groups = part_for(channel, &channels, &notice.groups, |group| {
                (&group.handler, &group.error)
            });
            let paused = part_for(channel, &channels, &notice.paused, |one| {
                (&one.handler, &one.why)
            });
            if groups.len() + paused.len() == 0 {
                continue;
            }
            let pending = Pending {
                notice: Notice {
                    groups,
                    paused,
                    ..notice.clone()
                },
                tries: 0,
                next: notice.at,
                error: None,
            };
            changes.push(put(key(channel.name(), notice), &pending)?);
        }
        Ok(changes)
    }
}
