//! How telling people goes, for dashboards and health checks.

use idem_runtime::{Error, Idem, Notes, Timestamp};
use serde::{Deserialize, Serialize};

use super::outbox::{self, get, read};

/// The most notices, letters or channels that are counted.
const MOST: usize = 10_000;

/// How telling people goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AlertState {
    /// Letters that are in no notice yet; at most 10,000 are counted.
    pub untold: u64,
    /// The channels that were ever used.
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
    /// Notices that wait to be sent; at most 10,000 are counted.
    #[serde(default)]
    pub waiting: u64,
}

const PLACE: &str = "alerts/channels/";

pub(super) fn key(channel: &str) -> String {
    format!("{PLACE}{}", outbox::name(channel))
}

pub(super) async fn of(notes: &Notes, channel: &str) -> Result<ChannelState, Error> {
    let known = get(notes, &key(channel)).await?;
    Ok(known.unwrap_or_else(|| ChannelState { name: channel.to_owned(), ..ChannelState::default() }))
}

impl AlertState {
    /// How telling people of these letters goes, whether or not a monitor runs in this process.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn of(idem: &Idem) -> Result<Self, Error> {
        let notes = idem.notes();
        let untold = notes.list("untold/", None, MOST).await?.len() as u64;
        let mut channels = Vec::new();
        for note in notes.list(PLACE, None, MOST).await? {
            let mut channel: ChannelState = read(&note)?;
            channel.waiting = notes.list(&outbox::place(&channel.name), None, MOST).await?.len() as u64;
            channels.push(channel);
        }
        Ok(Self { untold, channels })
    }
}
