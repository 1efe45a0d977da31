//! Handlers that were renamed: records under an earlier name serve the handler of today.
//!
//! Calls say which names their handler had. A note in the ledger keeps them, so that a letter of an
//! earlier name is found and run before the first call of a process, too.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use crate::clock::Clock;
use crate::handler::registry::RegisteredHandler;
use crate::issuer::record::was_issued;
use crate::ledger::{Ledger, LedgerError};
use crate::protocol::{NoteChange, RecordId};

/// The prefix of the notes.
const NOTES: &str = "was/";
/// How many notes are read at a time.
const PAGE: usize = 256;

/// The earlier names of handlers, by today's name.
#[derive(Debug, Default)]
pub(crate) struct EarlierNames(RwLock<BTreeMap<String, Vec<String>>>);

impl EarlierNames {
    /// Reads the names that the ledger knows.
    pub(crate) async fn read(&self, ledger: &dyn Ledger) -> Result<(), LedgerError> {
        let mut after = None;
        loop {
            let notes = ledger.notes(NOTES, after.as_deref(), PAGE).await?;
            let mut known = self.0.write();
            for note in &notes {
                // A note that does not parse was written by a later version.
                if let Ok((name, was)) = serde_json::from_slice(&note.value) {
                    known.insert(name, was);
                }
            }
            match notes.into_iter().next_back() {
                Some(last) => after = Some(last.key),
                None => return Ok(()),
            }
        }
    }

    /// Records the earlier names of a handler, if they are new.
    async fn learn(
        &self,
        ledger: &dyn Ledger,
        name: &str,
        was: &[&str],
    ) -> Result<(), LedgerError> {
        if self.0.read().get(name).is_some_and(|known| known == was) {
            return Ok(());
        }
        // A name may be longer than a note's key.
        let key = format!("{NOTES}{}", &blake3::hash(name.as_bytes()).to_hex()[..32]);
        let value = serde_json::to_vec(&(name, was))
            .map_err(|error| LedgerError::Other(error.to_string()))?;
        ledger
            .write_notes(vec![NoteChange::put(key, value)], Vec::new())
            .await?;
        self.0.write().insert(
            name.to_owned(),
            was.iter().map(|name| (*name).to_owned()).collect(),
        );
        Ok(())
    }

    /// Returns whether a handler had this name before.
    pub(crate) fn had(&self, name: &str, earlier: &str) -> bool {
        self.0
            .read()
            .get(name)
            .is_some_and(|was| was.iter().any(|was| was == earlier))
    }

    /// Returns whether this is the earlier name of any handler.
    pub(crate) fn is_earlier(&self, name: &str) -> bool {
        let names = self.0.read();
        names.values().flatten().any(|was| was == name)
    }

    /// Returns the earlier names of a handler.
    pub(crate) fn get(&self, name: &str) -> Vec<String> {
        self.0.read().get(name).cloned().unwrap_or_default()
    }

    /// Returns all names of the handler that has or had this one: this one first, then today's.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let mut all = vec![name.to_owned()];
        for (today, was) in &*self.0.read() {
            if today == name || was.iter().any(|was| was == name) {
                all.extend(
                    [today]
                        .into_iter()
                        .chain(was)
                        .filter(|other| *other != name)
                        .cloned(),
                );
            }
        }
        all
    }
}

/// The outcome of a lookup before a claim.
pub(crate) enum Found {
    /// The handler may claim under its own name.
    Here,
    /// The message's record stands under an earlier name.
    Under(RecordId),
    /// The key was not issued.
    NotIssued(&'static str),
}

/// Finds the name that a message's record is under. Where there is no record, checks that its key
/// was issued.
pub(crate) async fn look_first(
    ledger: &dyn Ledger,
    clock: &dyn Clock,
    earlier_names: &EarlierNames,
    registered: &RegisteredHandler,
    id: &RecordId,
) -> Result<Found, LedgerError> {
    let handler = registered.handler;
    if !handler.was.is_empty() {
        earlier_names
            .learn(ledger, &registered.name, handler.was)
            .await?;
    }
    if is_known(ledger, clock, id).await? {
        return Ok(Found::Here);
    }
    for was in handler.was {
        let earlier = RecordId {
            handler: (*was).into(),
            key: id.key.clone(),
        };
        if is_known(ledger, clock, &earlier).await? {
            return Ok(Found::Under(earlier));
        }
    }
    match handler.issued {
        Some(issuer) if !was_issued(ledger, issuer, &id.key, clock.now()).await? => {
            Ok(Found::NotIssued(issuer))
        }
        _ => Ok(Found::Here),
    }
}

/// Returns whether there is a record that has not expired.
async fn is_known(
    ledger: &dyn Ledger,
    clock: &dyn Clock,
    id: &RecordId,
) -> Result<bool, LedgerError> {
    let now = clock.now();
    let record = ledger.record(id).await?;
    Ok(record.is_some_and(|record| !record.expired(now)))
}
