//! Handlers that had another name before: what stands under it serves today's.
//!
//! Which name a handler had is known from its calls, and between them from a note in the ledger: a
//! letter of an earlier name is found and run also before the first call of a process.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use crate::clock::Clock;
use crate::handler::registry::RegisteredHandler;
use crate::issuer::record::was_issued;
use crate::ledger::{Ledger, LedgerError};
use crate::protocol::{NoteChange, Record, RecordId};

/// Where the notes are.
const NOTES: &str = "was/";
/// More are read at a time, not more in all.
const PAGE: usize = 256;

/// The earlier names of handlers, by today's.
#[derive(Debug, Default)]
pub(crate) struct EarlierNames(RwLock<BTreeMap<String, Vec<String>>>);

impl EarlierNames {
    /// Reads what the ledger knows.
    pub(crate) async fn read(&self, ledger: &dyn Ledger) -> Result<(), LedgerError> {
        let mut after = None;
        loop {
            let notes = ledger.notes(NOTES, after.as_deref(), PAGE).await?;
            let mut known = self.0.write();
            for note in &notes {
                // One that does not parse is of a version to come.
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

    /// Keeps what a handler says of itself, if it is new.
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
            .write_notes(vec![NoteChange::put(key, value)])
            .await?;
        self.0.write().insert(
            name.to_owned(),
            was.iter().map(|name| (*name).to_owned()).collect(),
        );
        Ok(())
    }

    /// Whether a handler had a name before.
    pub(crate) fn had(&self, name: &str, earlier: &str) -> bool {
        self.0
            .read()
            .get(name)
            .is_some_and(|was| was.iter().any(|was| was == earlier))
    }

    /// The names that a handler had before.
    pub(crate) fn of(&self, name: &str) -> Vec<String> {
        self.0.read().get(name).cloned().unwrap_or_default()
    }

    /// All names of the handler that has this one, or had it: this one first, then today's.
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

/// What is found before a claim.
pub(crate) enum Found {
    /// The handler may claim under its own name.
    Here,
    /// The message's record stands under an earlier name.
    Under(RecordId),
    /// The key was not issued.
    NotIssued(&'static str),
}

/// Looks where a message's record stands, and if nowhere, whether its key was issued.
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

/// Whether a record stands there, and its time is not over.
async fn is_known(
    ledger: &dyn Ledger,
    clock: &dyn Clock,
    id: &RecordId,
) -> Result<bool, LedgerError> {
    let now = clock.now();
    let record = ledger.record(id).await?;
    Ok(record
        .is_some_and(|record| !matches!(record, Record::Settled(settled) if settled.expired(now))))
}
