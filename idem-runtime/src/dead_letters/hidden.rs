//! The redactions of messages that no handler could take: their bytes may hold what the handlers
//! redact that other messages of theirs reach.

use std::borrow::Cow;
use std::collections::HashMap;

use minicbor::{Decode, Encode};
use parking_lot::RwLock;

use crate::handler::Handler;
use crate::message::redact::Names;

/// The redactions that this process knows, by the names that messages are buried under.
#[derive(Default)]
pub(crate) struct Hidden(RwLock<HashMap<String, Known>>);

#[derive(Default)]
struct Known {
    /// Given by the program.
    said: Hiding,
    /// Handlers that messages reached and that the ledger has a note of.
    noted: Vec<&'static Handler>,
}

/// The redactions of a message.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
pub(super) struct Hiding {
    /// The paths that are redacted.
    #[n(0)]
    pub(super) paths: Vec<String>,
    /// Whether all of it is redacted.
    #[n(1)]
    pub(super) whole: bool,
    /// Whether bytes that are not JSON are kept.
    #[n(2)]
    pub(super) unreadable: bool,
}

impl Hidden {
    pub(super) fn say(&self, name: String, said: Hiding) {
        self.0.write().entry(name).or_default().said.add(said);
    }

    pub(super) fn said(&self, name: &str) -> Hiding {
        self.0
            .read()
            .get(name)
            .map(|known| known.said.clone())
            .unwrap_or_default()
    }

    pub(super) fn is_noted(&self, name: &str, handler: &'static Handler) -> bool {
        self.0.read().get(name).is_some_and(|known| {
            known
                .noted
                .iter()
                .any(|noted| std::ptr::eq(*noted, handler))
        })
    }

    pub(super) fn noted(&self, name: &str, handler: &'static Handler) {
        self.0
            .write()
            .entry(name.to_owned())
            .or_default()
            .noted
            .push(handler);
    }
}

impl Hiding {
    pub(super) fn from_handler(handler: &Handler) -> Self {
        let paths = handler.redact.iter().map(ToString::to_string).collect();
        Self {
            paths,
            whole: handler.whole,
            unreadable: false,
        }
    }

    pub(super) fn add(&mut self, more: Self) {
        self.paths.extend(more.paths);
        let mut seen = std::collections::HashSet::new();
        self.paths.retain(|path| seen.insert(path.clone()));
        self.whole |= more.whole;
        self.unreadable |= more.unreadable;
    }

    /// Returns the part of these bytes that may be stored, if there is one.
    pub(super) fn shown<'b>(&self, bytes: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        if self.whole {
            return None;
        }
        if self.paths.is_empty() {
            return Some(bytes.into());
        }
        match Names::new(self.paths.iter().map(String::as_str)).hide(bytes) {
            Ok(hidden) => Some(hidden.into()),
            Err(_) => self.unreadable.then(|| bytes.into()),
        }
    }
}
