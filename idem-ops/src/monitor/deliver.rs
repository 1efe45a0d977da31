//! From the outbox to people: one task a channel, so that one that is down holds up no other.

use std::sync::Arc;
use std::time::Duration;

use idem_runtime::ledger::NoteChange;
use idem_runtime::{Error, clock::Timestamp};
use tokio::sync::watch;

use super::Watching;
use super::channel::Channel;
use super::gather::passed;
use super::outbox::{Waiting, place, put, read};
use super::state::{self, ChannelState};
use crate::alert::{AlertError, Retry};
use crate::metrics;

/// A channel has its own timeouts; this one is for a channel that has none.
const LONGEST: Duration = Duration::from_secs(120);
/// Pauses between tries: from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15 * 60));
/// How often the outbox is looked at without a reason.
const LOOK: Duration = Duration::from_secs(60);

impl Watching {
    /// Sends what waits for a channel, oldest first, until the end.
    pub(super) async fn deliver(self: Arc<Self>, channel: usize, mut ended: watch::Receiver<()>) {
        let (channel, clock) = (&self.channels[channel], self.idem.clock());
        loop {
            // Made before the look, so that no ring is missed.
            let mail = self.mail.notified();
            let pause = match self.send_next(channel).await {
                Ok(Next::Now) => Duration::ZERO,
                Ok(Next::In(pause)) => pause.min(LOOK),
                Err(error) => {
                    tracing::warn!(channel = channel.name(), %error, "the outbox cannot be read or written");
                    PAUSES.0
                }
            };
            tokio::select! {
                _ = ended.changed() => return,
                () = mail, if !pause.is_zero() => {}
                () = clock.sleep(pause) => {}
            }
        }
    }

    /// Sends the oldest notice, if it is due, and records how that went.
    async fn send_next(&self, channel: &Channel) -> Result<Next, Error> {
        let (notes, clock) = (self.idem.notes(), self.idem.clock());
        let Some(note) = notes.list(&place(channel.name()), None, 1).await?.pop() else {
            metrics::waiting(channel.name(), 0);
            return Ok(Next::In(LOOK));
        };
        let mut waiting: Waiting = read(&note)?;
        let due = passed(clock.now(), waiting.next);
        // One that is further away is from before the clock stepped back.
        if !due.is_zero() && due <= PAUSES.1 * 4 {
            return Ok(Next::In(due));
        }
        let sent = tokio::select! {
            sent = channel.alert.send(&waiting.notice) => sent,
            () = clock.sleep(LONGEST) => Err(AlertError::new(
                channel.name(), "it did not end within two minutes", Retry::Later, "look at the channel's own timeouts",
            )),
        };
        let now = clock.now();
        let mut state = state::of(&notes, channel.name()).await?;
        let change = match &sent {
            Ok(()) => {
                tracing::info!(channel = channel.name(), notice = %waiting.notice.id, "people were told");
                state = ChannelState {
                    last_sent: Some(now),
                    failing_since: None,
                    last_error: None,
                    ..state
                };
                NoteChange::delete(note.key)
            }
            Err(error) => {
                tracing::error!(channel = channel.name(), notice = %waiting.notice.id, tries = waiting.tries + 1, %error,
                    "people could not be told; it will be tried again");
                state.failing_since.get_or_insert(now);
                state.last_error = Some(error.to_string());
                waiting.tries += 1;
                waiting.next = now
                    .checked_add(pause(waiting.tries, error))
                    .unwrap_or(Timestamp::MAX);
                waiting.error = Some(error.to_string());
                put(note.key, &waiting)?
            }
        };
        metrics::alerted(channel.name(), sent.is_ok());
        notes
            .write(vec![change, put(state::key(channel.name()), &state)?])
            .await?;
        Ok(Next::Now)
    }
}

/// When to look again.
enum Next {
    Now,
    In(Duration),
}

/// The pause before the next try. An error that trying does not mend is tried too, seldom: somebody
/// may mend it.
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
