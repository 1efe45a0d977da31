//! A person's actions on a dead letter.

use jiff::Timestamp;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::sealed::Sealed;
use crate::json::Json;
use crate::protocol::encoding::cbor;

/// A person's action on a letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[non_exhaustive]
pub struct Action {
    /// When it was done.
    #[n(0)]
    #[cbor(with = "cbor::millis")]
    pub at: Timestamp,
    /// The person, and their reason.
    #[n(1)]
    pub by: Actor,
    /// What was done.
    #[n(2)]
    #[serde(rename = "deed")]
    pub kind: ActionKind,
    /// The sealed parts of an edit's new payload. The letter takes them, so no history has any.
    #[cbor(skip)]
    #[serde(skip)]
    pub(crate) sealed: Option<Sealed>,
}

/// The person who did something, and their reason, as far as they gave them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Actor {
    /// A person's name.
    #[n(0)]
    pub who: Option<String>,
    /// Their reason.
    #[n(1)]
    pub why: Option<String>,
}

/// The kind of an action on a letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActionKind {
    /// The letter was redriven: the next call runs.
    #[n(0)]
    Redriven,
    /// The letter was closed without another run.
    #[n(1)]
    Discarded,
    /// A discard was undone.
    #[n(2)]
    Restored,
    /// The payload was changed. This is the payload before it.
    #[n(3)]
    Edited(
        #[n(0)]
        #[cbor(with = "cbor::json")]
        Json,
    ),
    /// The content was erased, also from the history; an open letter was closed.
    #[n(4)]
    Erased,
}

impl ActionKind {
    /// Returns the name used in logs and JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            ActionKind::Redriven => "redriven",
            ActionKind::Discarded => "discarded",
            ActionKind::Restored => "restored",
            ActionKind::Edited(_) => "edited",
            ActionKind::Erased => "erased",
        }
    }
}
