//! A notice: the dead letters, or paused handlers, that people are notified of at one time.

use idem_runtime::{DeadLetter, DeadLetterId, clock::Timestamp, dead_letters::Reason};
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::paused::PausedHandler;

/// The dead letters, or paused handlers, that people are notified of at one time.
///
/// It is kept in the ledger until it is sent, so every retry and every copy after a crash has the
/// same id and text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Notice {
    /// The same in every copy of the notice.
    pub id: Uuid,
    /// Why the notice was made.
    pub kind: NoticeKind,
    /// The service that the letters belong to.
    pub service: String,
    /// When the notice was made.
    pub at: Timestamp,
    /// The groups of letters, the largest first.
    pub groups: Vec<Group>,
    /// The handlers that are paused, or no longer are, in a notice of that kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<PausedHandler>,
    /// The number of all open dead letters, in this notice or not.
    pub open: u64,
    /// The dashboard's address, including the prefix of a nested one; letters are below it at
    /// `letters/<id>`. Only `http` and `https` are linked.
    pub dashboard: Option<Url>,
}

impl Notice {
    /// Creates a notice with a new id and no letters.
    pub fn new(kind: NoticeKind, service: impl Into<String>, at: Timestamp) -> Self {
        let service = service.into();
        Self {
            id: Uuid::now_v7(),
            kind,
            service,
            at,
            groups: Vec::new(),
            paused: Vec::new(),
            open: 0,
            dashboard: None,
        }
    }
}

/// Why a notice was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoticeKind {
    /// The first letter of a new group.
    NewGroup,
    /// Letters since the last notice.
    Digest,
    /// Letters that stay open for too long.
    Escalation,
    /// Handlers were paused: their messages wait.
    Paused,
    /// Handlers are still paused.
    StillPaused,
    /// Handlers are no longer paused.
    Resumed,
    /// A test of the channels, without letters.
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
    /// The number of its letters in this notice.
    pub count: u64,
    /// When the first of them died.
    pub since: Timestamp,
    /// The newest of them, newest first, at most 5.
    pub newest: Vec<Brief>,
}

impl Group {
    /// Creates a group of `count` letters that shows none of them.
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

/// A dead letter in a few lines, without its payload.
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
    /// The number of its attempts.
    pub attempts: u32,
    /// When it died.
    pub died_at: Timestamp,
    /// The ordering key by which its consumer kept it in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
}

impl Brief {
    /// Creates a brief without an error text.
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
            ordering_key: None,
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
            ordering_key: letter
                .origin
                .as_ref()
                .and_then(|origin| origin.ordering_key.clone()),
        }
    }
}
