//! What of a message that no handler could take is stored: what the handlers redact that other
//! messages of its name reach is learned, kept in the ledger, and hidden in it.

use serde_json::json;

use super::hidden::Hiding;
use super::payload::unfit;
use crate::error::Error;
use crate::handler::Handler;
use crate::idem::Idem;
use crate::idem::shared::Shared;
use crate::json::Json;
use crate::json::problem::json_problem;
use crate::ledger::LedgerError;
use crate::message::redact::REDACTED;
use crate::protocol::{DeadLetter, Note, NoteChange, Origin, encoding};

/// How many handlers are looked at that one name's messages reached.
const MOST_HANDLERS: usize = 1000;

impl Idem {
    /// Says what is not stored of messages that are [buried](Self::bury) under this name: fields in
    /// their JSON, by the names and paths of `redact(…)`. What the handlers redact that the name's
    /// [deliveries](Self::deliver_as) reach need not be said, for it is learned from them, and kept
    /// in the ledger.
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

    /// Says that of messages that are [buried](Self::bury) under this name, bytes that are no JSON
    /// are kept, although a handler redacts: nothing can be redacted in them, so without this only
    /// their length and hash are.
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
    /// Sees to it that the ledger knows what these handlers redact, which messages of this name
    /// have reached.
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
            // Another process, or this one before it was started again, may have written it.
            if self.ledger.notes(&key, None, 1).await?.is_empty() {
                self.ledger
                    .write_notes(vec![NoteChange::put(key, value)])
                    .await?;
            }
            self.hidden.noted(name, handler);
        }
        Ok(())
    }

    /// What is hidden of a message that is buried under this name.
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

/// Each list of paths is a note of its own, so that another is added without reading those that are
/// there.
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

/// A hash, for a note's key is short.
fn short(of: &[u8]) -> String {
    blake3::hash(of).to_hex()[..32].to_owned()
}

/// What is stored in place of bytes of which no part may be.
pub(super) fn summary(bytes: &[u8]) -> Json {
    json!({ "content": REDACTED, "bytes": bytes.len(), "blake3": &*blake3::hash(bytes).to_hex() })
        .into()
}

/// What is stored of a payload that somebody gives to the letter of such a message.
pub(super) async fn mended(
    shared: &Shared,
    letter: &DeadLetter,
    payload: Json,
) -> Result<Json, Error> {
    let mut hiding = shared
        .hidden(&letter.handler, letter.origin.as_ref())
        .await?;
    hiding.add(Hiding {
        paths: letter.redacted.clone(),
        ..Hiding::default()
    });
    // The message's own text, or the arguments.
    let text = payload.parse::<String>().ok();
    let bytes = text.as_deref().unwrap_or(payload.as_str()).as_bytes();
    Ok(match hiding.shown(bytes) {
        Some(shown) if text.is_some() => String::from_utf8_lossy(&shown).into(),
        Some(shown) => serde_json::from_slice(&shown)
            .map_err(|problem| unfit(letter, json_problem(&problem)))?,
        None => summary(bytes),
    })
}
