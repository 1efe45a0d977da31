//! Redacts messages that no handler could take. What the handlers redact that other messages of the
//! same name reach is learned and kept in the ledger.

use super::LetterError;
use super::hidden::Hiding;
use super::payload::unfit;
use crate::handler::Handler;
use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::json::Json;
use crate::json::problem::json_problem;
use crate::ledger::LedgerError;
use crate::message::redact::summary;
use crate::protocol::{DeadLetter, Note, NoteChange, Origin, encoding};

/// How many handlers are considered for one name.
const MOST_HANDLERS: usize = 1000;

impl Idem {
    /// Adds paths to redact in messages that are [buried](Self::bury) under this name: fields in
    /// their JSON, by the names and paths of `redact(…)`. The redactions of handlers that
    /// [deliveries](Self::deliver_as) of the name reach need not be given: they are learned, and
    /// kept in the ledger.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # use idem_runtime::{Idem, Origin};
    /// # let idem = Idem::open(folder.path())?;
    /// idem.redact_buried("orders", ["order.card_no"]);
    /// let message = br#"{"order_no": "A-1", "card_no": "4111 1111 1111 1111"}"#;
    /// let id = idem.bury("orders", "m-17", message, Origin::new("rabbitmq", "orders"), "missing field `qty`").await?;
    /// let letter = idem.dead_letters().get(&id).await?.expect("it was just written");
    /// assert_eq!(letter.message(), br#"{"order_no":"A-1","card_no":"[redacted]"}"#);
    /// # Ok(()) }
    /// ```
    pub fn redact_buried<P: Into<String>>(
        &self,
        name: impl Into<String>,
        paths: impl IntoIterator<Item = P>,
    ) {
        let paths = paths.into_iter().map(Into::into).collect();
        self.shared().hidden.say(
            name.into(),
            Hiding {
                paths,
                ..Hiding::default()
            },
        );
    }

    /// Keeps bytes that are not JSON in messages that are [buried](Self::bury) under this name,
    /// although a handler redacts. Nothing can be redacted in such bytes, so without this only
    /// their length and hash are kept.
    pub fn keep_unreadable(&self, name: impl Into<String>) {
        self.shared().hidden.say(
            name.into(),
            Hiding {
                unreadable: true,
                ..Hiding::default()
            },
        );
    }
}

impl Shared {
    /// Records in the ledger what these handlers redact, which messages of this name have reached.
    pub(crate) async fn learn(
        &self,
        name: &str,
        reached: &[&'static Handler],
    ) -> Result<(), LedgerError> {
        for handler in reached {
            if self.hidden.is_noted(name, handler) {
                continue;
            }
            let Note { key, value } = note(name, handler)?;
            // Another process may have written it, or this one before a restart.
            if self.ledger.notes(&key, None, 1).await?.is_empty() {
                self.ledger
                    .write_notes(vec![NoteChange::put(key, value)], Vec::new())
                    .await?;
            }
            self.hidden.noted(name, handler);
        }
        Ok(())
    }

    /// Returns the redactions of a message that is buried under this name.
    pub(super) async fn hidden(
        &self,
        name: &str,
        origin: Option<&Origin>,
    ) -> Result<Hiding, LedgerError> {
        let (mut hiding, place) = (Hiding::default(), origin.map(Origin::place));
        for name in [Some(name), place.as_deref()].into_iter().flatten() {
            hiding.add(self.hidden.said(name));
            self.handlers
                .get(name)
                .into_iter()
                .for_each(|handler| hiding.add(Hiding::from_handler(handler)));
            for note in self
                .ledger
                .notes(&prefix(name), None, MOST_HANDLERS)
                .await?
            {
                hiding.add(encoding::decode(&note.value)?);
            }
        }
        Ok(hiding)
    }
}

/// Returns the note of a handler's redactions. Each list of paths is a note of its own, so that one
/// is added without reading the others.
fn note(name: &str, handler: &Handler) -> Result<Note, LedgerError> {
    let value = encoding::encode(&Hiding::from_handler(handler))?;
    Ok(Note {
        key: format!("{}{}", prefix(name), short(&value)),
        value,
    })
}

fn prefix(name: &str) -> String {
    format!("redact/{}/", short(name.as_bytes()))
}

/// Returns a short hash, because the key of a note is short.
fn short(of: &[u8]) -> String {
    blake3::hash(of).to_hex()[..32].to_owned()
}

/// Redacts a payload that a person gives to the letter of such a message.
pub(super) async fn mended(
    shared: &Shared,
    letter: &DeadLetter,
    payload: Json,
) -> Result<Json, LetterError> {
    let mut hiding = shared
        .hidden(&letter.handler, letter.origin.as_ref())
        .await?;
    hiding.add(Hiding {
        paths: letter.redacted.clone(),
        ..Hiding::default()
    });
    // The payload is the message's own text, or the arguments.
    let text = payload.parse::<String>().ok();
    let bytes = text.as_deref().unwrap_or(payload.as_str()).as_bytes();
    Ok(match hiding.shown(bytes) {
        Some(shown) if text.is_some() => String::from_utf8_lossy(&shown).into(),
        Some(shown) => serde_json::from_slice(&shown)
            .map_err(|problem| unfit(letter, json_problem(&problem)))?,
        None => summary(bytes),
    })
}
