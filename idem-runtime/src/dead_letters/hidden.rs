//! What is not stored of messages that no handler could take: their bytes may hold what the
//! handlers redact that other messages of theirs reach.

use std::borrow::Cow;
use std::collections::HashMap;

use minicbor::{Decode, Encode};
use parking_lot::RwLock;
use serde_json::json;

use super::actions::unfit;
use crate::error::Error;
use crate::handler::Handler;
use crate::idem::{Idem, Inner};
use crate::json::Json;
use crate::json::problem::json_problem;
use crate::ledger::{LedgerError, Note, NoteChange};
use crate::message::redact::{Names, REDACTED};
use crate::protocol::encoding;
use crate::protocol::{DeadLetter, Origin};

/// How many handlers are looked at that one name's messages reached.
const MOST_HANDLERS: usize = 1000;

/// What this process knows, by the names that messages are buried under.
#[derive(Default)]
pub(crate) struct Hidden(RwLock<HashMap<String, Known>>);

#[derive(Default)]
struct Known {
    /// As it was told.
    said: Hiding,
    /// The handlers that messages reached, and that the ledger knows of.
    noted: Vec<&'static Handler>,
}

/// What of a message is hidden.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
pub(super) struct Hiding {
    /// The paths that are redacted.
    #[n(0)]
    pub(super) paths: Vec<String>,
    /// All of it is redacted.
    #[n(1)]
    whole: bool,
    /// Bytes that are no JSON are kept all the same.
    #[n(2)]
    unreadable: bool,
}

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
        self.inner().hidden.say(
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
        self.inner().hidden.say(
            name.into(),
            Hiding {
                unreadable: true,
                ..Hiding::default()
            },
        );
    }
}

impl Hidden {
    fn say(&self, name: String, said: Hiding) {
        self.0.write().entry(name).or_default().said.add(said);
    }

    fn said(&self, name: &str) -> Hiding {
        self.0
            .read()
            .get(name)
            .map(|known| known.said.clone())
            .unwrap_or_default()
    }

    fn is_noted(&self, name: &str, handler: &'static Handler) -> bool {
        self.0.read().get(name).is_some_and(|known| {
            known
                .noted
                .iter()
                .any(|noted| std::ptr::eq(*noted, handler))
        })
    }

    fn noted(&self, name: &str, handler: &'static Handler) {
        self.0
            .write()
            .entry(name.to_owned())
            .or_default()
            .noted
            .push(handler);
    }
}

impl Inner {
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
                .of(name)
                .into_iter()
                .for_each(|handler| hiding.add(Hiding::of(handler)));
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
    let value = encoding::encode(&Hiding::of(handler))?;
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

impl Hiding {
    fn of(handler: &Handler) -> Self {
        let paths = handler.redact.iter().map(ToString::to_string).collect();
        Self {
            paths,
            whole: handler.whole,
            unreadable: false,
        }
    }

    fn add(&mut self, more: Self) {
        self.paths.extend(more.paths);
        let mut seen = std::collections::HashSet::new();
        self.paths.retain(|path| seen.insert(path.clone()));
        self.whole |= more.whole;
        self.unreadable |= more.unreadable;
    }

    /// What may be stored of these bytes, if a part of them may.
    pub(super) fn shown<'b>(&self, bytes: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        if self.whole {
            return None;
        }
        if self.paths.is_empty() {
            return Some(bytes.into());
        }
        match Names::of(self.paths.iter().map(String::as_str)).hide(bytes) {
            Ok(hidden) => Some(hidden.into()),
            Err(_) => self.unreadable.then(|| bytes.into()),
        }
    }
}

/// What is stored in place of bytes of which no part may be.
pub(super) fn summary(bytes: &[u8]) -> Json {
    json!({ "content": REDACTED, "bytes": bytes.len(), "blake3": &*blake3::hash(bytes).to_hex() })
        .into()
}

/// What is stored of a payload that somebody gives to the letter of such a message.
pub(super) async fn mended(
    inner: &Inner,
    letter: &DeadLetter,
    payload: Json,
) -> Result<Json, Error> {
    let mut hiding = inner
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
