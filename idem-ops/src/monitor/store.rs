//! The monitor's data in the ledger's notes: pending notices, and values as JSON.

use idem_runtime::ledger::NoteChange;
use idem_runtime::{
    clock::Timestamp,
    json::{from_json, json_problem},
    ledger::LedgerError,
    notes::{Note, Notes},
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::alert::Notice;

/// The most notices that are counted.
const MOST: u64 = 1000;
/// Notices are large, so only some are in memory at a time.
const PAGE: usize = 100;

/// A notice that a channel has to send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) notice: Notice,
    /// The number of failed tries.
    pub(super) tries: u32,
    /// The time of the next try.
    pub(super) next: Timestamp,
    /// Why the last try failed.
    pub(super) error: Option<String>,
}

/// Returns the prefix of a channel's notices. Their keys sort by age, oldest first.
pub(super) fn place(channel: &str) -> String {
    format!("alerts/out/{}/", name(channel))
}

pub(super) fn key(channel: &str, notice: &Notice) -> String {
    format!("{}{}", place(channel), notice.id)
}

/// Counts the notices that wait for a channel, up to [`MOST`].
pub(super) async fn count(notes: &Notes, channel: &str) -> Result<u64, LedgerError> {
    let (place, mut count, mut after) = (place(channel), 0, None::<String>);
    while count < MOST {
        let page = notes.list(&place, after.as_deref(), PAGE).await?;
        count += page.len() as u64;
        if page.len() < PAGE {
            break;
        }
        after = page.into_iter().next_back().map(|note| note.key);
    }
    Ok(count)
}

/// Returns a channel's name as a part of a key: short and without slashes.
pub(super) fn name(channel: &str) -> String {
    let fits = channel.len() <= 32
        && channel
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if fits {
        channel.to_owned()
    } else {
        format!("{:032x}", hashed(&[channel]))
    }
}

/// Returns a short name of texts.
pub(super) fn hashed(texts: &[&str]) -> u128 {
    let hash = texts
        .iter()
        .fold(Sha256::new(), |hash, text| {
            hash.chain_update(text).chain_update([0])
        })
        .finalize();
    hash.first_chunk()
        .map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

pub(super) fn put<T: Serialize>(key: String, value: &T) -> Result<NoteChange, LedgerError> {
    let json =
        serde_json::to_vec(value).map_err(|error| unreadable(&key, &json_problem(&error)))?;
    Ok(NoteChange::put(key, json))
}

pub(super) fn read<T: DeserializeOwned>(note: &Note) -> Result<T, LedgerError> {
    from_json(&note.value).map_err(|problem| unreadable(&note.key, &problem))
}

pub(super) async fn get<T: DeserializeOwned>(
    notes: &Notes,
    key: &str,
) -> Result<Option<T>, LedgerError> {
    let value = notes.get(key).await?;
    value
        .map(|value| from_json(&value).map_err(|problem| unreadable(key, &problem)))
        .transpose()
}

fn unreadable(key: &str, problem: &str) -> LedgerError {
    LedgerError::Record {
        detail: format!("the note {key}: {problem}"),
    }
}
