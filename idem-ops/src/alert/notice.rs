//! What people are told at one time.

use idem_runtime::{DeadLetter, DeadLetterId, clock::Timestamp, dead_letters::Reason};
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::text;

/// What people are told at one time.
///
/// It is kept in the ledger until it is sent, so every retry and every copy after a crash has the
/// same id and text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Notice {
    /// Another copy of the same notice has the same one.
    pub id: Uuid,
    /// Why people are told now.
    pub kind: NoticeKind,
    /// The service whose letters these are.
    pub service: String,
    /// When the notice was made.
    pub at: Timestamp,
    /// What is told, the most urgent group first.
    pub groups: Vec<Group>,
    /// Open dead letters in all, told of here or not.
    pub open: u64,
    /// Where people look and act, the prefix of a nested dashboard included; letters are below it
    /// at `letters/<id>`. Only `http` and `https` are linked.
    pub dashboard: Option<Url>,
}

impl Notice {
    /// A notice with a new id and nothing in it yet.
    pub fn new(kind: NoticeKind, service: impl Into<String>, at: Timestamp) -> Self {
        let service = service.into();
        Self {
            id: Uuid::now_v7(),
            kind,
            service,
            at,
            groups: Vec::new(),
            open: 0,
            dashboard: None,
        }
    }

    /// One line to filter by: `[idem] orders: 3 dead letters in orders.place — card declined`.
    ///
    /// It has no control characters and at most 240 characters, whatever the keys and errors hold.
    pub fn subject(&self) -> String {
        text::subject(self)
    }

    /// The whole notice as plain text.
    pub fn text(&self) -> String {
        text::body(&text::Story::of(self))
    }
}

/// Why people are told now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoticeKind {
    /// The first letter, or the first of a new group.
    NewGroup,
    /// What came since the last notice.
    Digest,
    /// Letters that stay open for too long.
    Escalation,
    /// A person tries whether alerts arrive; there are no letters in it.
    Test,
}

/// Letters of one handler with one kind of error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Group {
    /// The handler's name in the ledger.
    pub handler: String,
    /// The kind of error: the text with numbers, ids and quoted parts blanked.
    pub error: String,
    /// How many letters of the group this notice tells of.
    pub count: u64,
    /// When the first of them died.
    pub since: Timestamp,
    /// The newest of them, newest first, at most 5.
    pub newest: Vec<Brief>,
}

impl Group {
    /// A group of `count` letters without any of them shown.
    pub fn new(
        handler: impl Into<String>,
        error: impl Into<String>,
        count: u64,
        since: Timestamp,
    ) -> Self {
        Self {
            handler: handler.into(),
            error: error.into(),
            count,
            since,
            newest: Vec::new(),
        }
    }
}

/// One dead letter in a few lines. Never its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Brief {
    /// The letter's id.
    pub id: DeadLetterId,
    /// The idempotency key.
    pub key: String,
    /// Why it died.
    pub reason: Reason,
    /// The last attempt's error.
    pub error: Option<String>,
    /// How many attempts it had.
    pub attempts: u32,
    /// When it died.
    pub died_at: Timestamp,
}

impl Brief {
    /// A letter without an error text.
    pub fn new(
        id: DeadLetterId,
        key: impl Into<String>,
        reason: Reason,
        attempts: u32,
        died_at: Timestamp,
    ) -> Self {
        Self {
            id,
            key: key.into(),
            reason,
            error: None,
            attempts,
            died_at,
        }
    }
}

impl From<&DeadLetter> for Brief {
    fn from(letter: &DeadLetter) -> Self {
        Self {
            id: letter.id,
            key: letter.key.clone(),
            reason: letter.reason,
            error: letter.last_error().map(str::to_owned),
            attempts: u32::try_from(letter.attempts.len()).unwrap_or(u32::MAX),
            died_at: letter.died_at,
        }
    }
}
