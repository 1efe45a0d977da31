//! Sends stored notices, in one task per channel, so that a broken channel delays no other.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::ledger::NoteChange;
use idem_runtime::{clock::Timestamp, ledger::LedgerError};
use tokio::sync::watch;

use super::Watching;
use super::channel::Channel;
use super::state::{self, ChannelState};
use super::store::{Pending, place, put, read};
use super::time::passed;
use crate::alert::{AlertError, Retry};
use crate::metrics;

/// The limit for a channel without a timeout of its own.
const LONGEST: Duration = Duration::from_secs(120);
/// The first and the longest pause between tries.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15 * 60));
/// The longest time between two looks at the stored notices.
const LOOK: Duration = Duration::from_secs(60);

impl Watching {
    /// Sends the notices of a channel, oldest first, while this monitor is on duty and until it
    /// ends.
    pub(super) async fn send_all(self: Arc<Self>, channel: usize, mut ended: watch::Receiver<()>) {
        let (channel, clock) = (&self.channels[channel], self.idem.clock());
        loop {
            // Created before the look, so that no notification is missed.
            let stored = self.stored.notified();
            let pause = match self.send_next(channel, &mut ended).await {
                Ok(Next::Now) => Duration::ZERO,
                Ok(Next::In(pause)) => pause.min(LOOK),
                Err(error) => {
                    tracing::warn!(
                        channel = channel.name(),
                        error = format_args!("{error:#}"),
                        "the notices cannot be read or written"
                    );
                    PAUSES.0
                }
            };
            tokio::select! {
                _ = ended.changed() => return,
                () = stored, if !pause.is_zero() => {}
                () = clock.sleep(pause) => {}
            }
        }
    }

    /// Sends the oldest notice, if it is due, and records the result.
    async fn send_next(
        &self,
        channel: &Channel,
        ended: &mut watch::Receiver<()>,
    ) -> Result<Next, LedgerError> {
        let (notes, clock) = (self.idem.notes(), self.idem.clock());
        let Some(guard) = self.duty.hold().await? else {
            return Ok(Next::In(LOOK));
        };
        let Some(note) = notes.list(&place(channel.name()), None, 1).await?.pop() else {
            metrics::waiting(channel.name(), 0);
            return Ok(Next::In(LOOK));
        };
        let mut pending: Pending = read(&note)?;
        let due = passed(clock.now(), pending.next);
        // A time that is further away is from before the clock stepped back.
        if !due.is_zero() && due <= PAUSES.1 * 4 {
            return Ok(Next::In(due));
        }
        let mut state = state::of(&notes, channel.name()).await?;
        let sent = tokio::select! {
            sent = channel.alert.send(&pending.notice) => sent,
            () = clock.sleep(LONGEST) => Err(AlertError::new(
                channel.name(), "it did not end within two minutes", Retry::Later, "check the channel's own timeouts",
            )),
        };
        let now = clock.now();
        let change = match &sent {
            Ok(()) => {
                tracing::info!(channel = channel.name(), notice = %pending.notice.id, "a notice was sent");
                state = ChannelState {
                    last_sent: Some(now),
                    failing_since: None,
                    last_error: None,
                    ..state
                };
                NoteChange::delete(note.key)
            }
            Err(error) => {
                tracing::error!(channel = channel.name(), notice = %pending.notice.id, tries = pending.tries + 1, %error,
                    "a notice could not be sent; the monitor tries again");
                state.failing_since.get_or_insert(now);
                state.last_error = Some(error.to_string());
                pending.tries += 1;
                pending.next = now
                    .checked_add(pause(pending.tries, error))
                    .unwrap_or(Timestamp::MAX);
                pending.error = Some(error.to_string());
                put(note.key, &pending)?
            }
        };
        metrics::alerted(channel.name(), sent.is_ok());
        let changes = vec![change, put(state::key(channel.name()), &state)?];
        // What was sent is not sent again because its record failed.
        while let Err(error) = notes.write_if(changes.clone(), vec![guard.clone()]).await {
            tracing::warn!(
                channel = channel.name(),
                error = format_args!("{error:#}"),
                "the result of a notice cannot be recorded; the monitor tries again"
            );
            tokio::select! {
                _ = ended.changed() => return Err(error),
                () = clock.sleep(PAUSES.0) => {}
            }
        }
        Ok(Next::Now)
    }
}

/// When to look again.
enum Next {
    Now,
    In(Duration),
}

/// Returns the pause before the next try. An error that needs a person is tried again too, after the
/// longest pause: the cause may have been removed.
fn pause(tries: u32, error: &AlertError) -> Duration {
    let (first, longest) = PAUSES;
    match error.retry {
        Retry::Never => longest,
        Retry::After(said) => said.clamp(first, longest * 4),
        _ => first
            .saturating_mul(1 << tries.saturating_sub(1).min(16))
            .min(longest),
    }
}
