//! The state of notifications, for dashboards and health checks.

use idem_runtime::{
    DeadLetterId, Idem, LetterState, clock::Timestamp, ledger::LedgerError, notes::Notes,
};
use serde::{Deserialize, Serialize};

use super::store::{self, get, read};

/// The most channels that are shown.
const CHANNELS: usize = 1000;
/// The most letters that are checked one by one.
const LETTERS: usize = 500;

/// The state of notifications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AlertState {
    /// The number of open letters among the oldest 500 that are in no notice yet.
    pub untold: u64,
    /// Whether more than 500 letters are in no notice.
    pub more_untold: bool,
    /// The channels that were ever used, including those that no monitor has any more.
    pub channels: Vec<ChannelState>,
}

/// The state of one channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChannelState {
    /// Its name.
    pub name: String,
    /// When a notice was sent last.
    pub last_sent: Option<Timestamp>,
    /// Since when every try has failed.
    pub failing_since: Option<Timestamp>,
    /// Why the last try failed, while it fails.
    pub last_error: Option<String>,
    /// The number of notices that wait to be sent, up to 1,000.
    #[serde(default)]
    pub waiting: u64,
}

const PLACE: &str = "alerts/channels/";

pub(super) fn key(channel: &str) -> String {
    format!("{PLACE}{}", store::name(channel))
}

pub(super) async fn of(notes: &Notes, channel: &str) -> Result<ChannelState, LedgerError> {
    let known = get(notes, &key(channel)).await?;
    Ok(known.unwrap_or_else(|| ChannelState {
        name: channel.to_owned(),
        ..ChannelState::default()
    }))
}

impl AlertState {
    /// Reads the state from the ledger, whether or not a monitor runs in this process.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger cannot be read.
    pub async fn of(idem: &Idem) -> Result<Self, LedgerError> {
        let notes = idem.notes();
        let mut channels = all(&notes).await?;
        for channel in &mut channels {
            channel.waiting = store::count(&notes, &channel.name).await?;
        }
        let (untold, more_untold) = unnotified(idem).await?;
        Ok(Self {
            untold,
            more_untold,
            channels,
        })
    }

    /// Returns the channels that fail now.
    pub fn failing(&self) -> impl Iterator<Item = &ChannelState> {
        self.channels
            .iter()
            .filter(|channel| channel.failing_since.is_some())
    }
}

/// Returns the channels that were ever used, without counting their notices.
pub(crate) async fn all(notes: &Notes) -> Result<Vec<ChannelState>, LedgerError> {
    notes
        .list(PLACE, None, CHANNELS)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Counts the open letters that are in no notice. Returns whether there are letters beyond those that
/// were checked.
async fn unnotified(idem: &Idem) -> Result<(u64, bool), LedgerError> {
    let (letters, prefix) = (idem.dead_letters(), "untold/");
    let mut notes = idem.notes().list(prefix, None, LETTERS + 1).await?;
    let more = notes.len() > LETTERS;
    notes.truncate(LETTERS);
    let mut open = 0;
    for note in notes {
        let Some(id) = note
            .key
            .strip_prefix(prefix)
            .and_then(|id| id.parse::<DeadLetterId>().ok())
        else {
            continue;
        };
        let is_open = match letters.get(&id).await {
            // A version that can read it makes its notice.
            Err(LedgerError::Record { .. }) => true,
            letter => letter?.is_some_and(|letter| letter.state == LetterState::Open),
        };
        open += u64::from(is_open);
    }
    Ok((open, more))
}
