//! How telling people goes, for dashboards and health checks.

use idem_runtime::{
    DeadLetterId, Error, Idem, LetterState, clock::Timestamp, ledger::LedgerError, notes::Notes,
};
use serde::{Deserialize, Serialize};

use super::outbox::{self, get, read};

/// The most channels that are shown.
const CHANNELS: usize = 1000;
/// So many letters are looked at one by one; more would only say the same louder.
const LETTERS: usize = 500;

/// How telling people goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AlertState {
    /// Open letters that are in no notice yet, of the oldest 500 that are in none: nobody needs to
    /// be told of what somebody has closed.
    pub untold: u64,
    /// Whether more than those 500 are in no notice.
    pub more_untold: bool,
    /// The channels that were ever used. One that no monitor has any more stays as it was.
    pub channels: Vec<ChannelState>,
}

/// How one channel does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChannelState {
    /// Its name.
    pub name: String,
    /// When people were told last.
    pub last_sent: Option<Timestamp>,
    /// Since when it has failed without a success.
    pub failing_since: Option<Timestamp>,
    /// Why the last try failed, while it fails.
    pub last_error: Option<String>,
    /// Notices that wait to be sent; at most 1,000 are counted.
    #[serde(default)]
    pub waiting: u64,
}

const PLACE: &str = "alerts/channels/";

pub(super) fn key(channel: &str) -> String {
    format!("{PLACE}{}", outbox::name(channel))
}

pub(super) async fn of(notes: &Notes, channel: &str) -> Result<ChannelState, Error> {
    let known = get(notes, &key(channel)).await?;
    Ok(known.unwrap_or_else(|| ChannelState {
        name: channel.to_owned(),
        ..ChannelState::default()
    }))
}

impl AlertState {
    /// How telling people of these letters goes, whether or not a monitor runs in this process.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn of(idem: &Idem) -> Result<Self, Error> {
        let notes = idem.notes();
        let mut channels = all(&notes).await?;
        for channel in &mut channels {
            channel.waiting = outbox::count(&notes, &channel.name).await?;
        }
        let (untold, more_untold) = nobody_knows(idem).await?;
        Ok(Self {
            untold,
            more_untold,
            channels,
        })
    }

    /// The channels that fail now.
    pub fn failing(&self) -> impl Iterator<Item = &ChannelState> {
        self.channels
            .iter()
            .filter(|channel| channel.failing_since.is_some())
    }
}

/// The channels that were ever used, without how much waits for them.
pub(crate) async fn all(notes: &Notes) -> Result<Vec<ChannelState>, Error> {
    notes
        .list(PLACE, None, CHANNELS)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// How many open letters nobody was told of, and whether there are letters that were not looked at.
async fn nobody_knows(idem: &Idem) -> Result<(u64, bool), Error> {
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
            // It has to be told of by a version that can read it.
            Err(Error::Ledger {
                problem: LedgerError::Record { .. },
                ..
            }) => true,
            letter => letter?.is_some_and(|letter| letter.state == LetterState::Open),
        };
        open += u64::from(is_open);
    }
    Ok((open, more))
}
