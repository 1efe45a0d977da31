//! Letters as people look for them: by page, one line each, and one in full.

use idem_runtime::{
    DeadLetter, DeadLetterId, LetterState, clock::Timestamp, dead_letters::Reason, json::Json,
};
use serde::{Deserialize, Serialize};

/// The most letters, groups, bulk acts or entries on one page.
pub const LONGEST_PAGE: usize = 500;
/// How many there are on a page unless asked otherwise.
pub const PAGE: usize = 100;

/// Which letters to show; by default the open ones, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LetterQuery {
    /// Only this handler's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// Only this idempotency key's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Only this kind of error's, as [`Group::error`](super::Group::error) says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which states.
    #[serde(default)]
    pub state: StateFilter,
    /// The page after the one that ended with this letter: [`LetterPage::next`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DeadLetterId>,
    /// How many at most, from 1 to [`LONGEST_PAGE`]; [`PAGE`] unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Letters of which states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateFilter {
    /// Those that wait for a person.
    #[default]
    Open,
    /// Those whose key a person re-armed.
    Redriven,
    /// Those that a person closed without another run.
    Discarded,
    /// All of them.
    Any,
}

impl StateFilter {
    /// Whether letters of this state are among them.
    pub fn takes(self, state: LetterState) -> bool {
        match self {
            Self::Open => state == LetterState::Open,
            Self::Redriven => state == LetterState::Redriven,
            Self::Discarded => state == LetterState::Discarded,
            Self::Any => true,
        }
    }
}

/// One page of letters, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LetterPage {
    /// At most as many as were asked for: fewer, or none, where older letters than the index holds
    /// were looked through and few fit.
    pub letters: Vec<LetterLine>,
    /// What to ask for `after` to get the next page; nothing on the last one.
    pub next: Option<DeadLetterId>,
    /// How many there are on all pages, as far as is known.
    pub total: u64,
    /// Whether the letters have been read through since the start; until then there may be more,
    /// and totals are too small.
    pub complete: bool,
    /// Whether there are older letters than the index holds, which `total` does not count. The
    /// pages go on through them.
    #[serde(default)]
    pub at_least: bool,
}

/// A letter in one line of a list: no payload, so that a page stays small.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LetterLine {
    /// The letter's id.
    pub id: DeadLetterId,
    /// The handler's name in the ledger.
    pub handler: String,
    /// The idempotency key.
    pub key: String,
    /// Whether a person still has to act.
    pub state: LetterState,
    /// Why it died.
    pub reason: Reason,
    /// The last attempt's error: whole, so up to 4 KiB.
    pub error: Option<String>,
    /// The kind of error, by which letters are grouped.
    pub kind: String,
    /// How many attempts it had.
    pub attempts: u32,
    /// When the message came first.
    pub first_seen: Timestamp,
    /// When it died.
    pub died_at: Timestamp,
    /// When it was redriven or discarded.
    pub closed_at: Option<Timestamp>,
    /// Whether it can be run from here, now and as it stands.
    pub can_run: bool,
    /// Where it cannot: why, and what to do.
    pub why_not: Option<String>,
    /// Whether its message can be published back to its broker from here, now and as it stands.
    #[serde(default)]
    pub can_publish: bool,
}

/// One letter in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LetterView {
    /// The letter with its payload, its attempts and what people did with it.
    pub letter: DeadLetter,
    /// The kind of error, by which letters are grouped.
    pub kind: String,
    /// The paths in the payload that were redacted and are not filled in: the letter does not run
    /// before they are.
    pub redacted: Vec<String>,
    /// Whether it can be run from here, now and as it stands.
    pub can_run: bool,
    /// Where it cannot: why, and what to do.
    pub why_not: Option<String>,
    /// Whether its message can be published back to its broker from here, now and as it stands.
    #[serde(default)]
    pub can_publish: bool,
    /// Where it cannot: why, and what to do.
    #[serde(default)]
    pub why_not_publish: Option<String>,
}

/// What a redrive came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Redriven {
    /// The letter as it stands now.
    pub letter: LetterView,
    /// What the run came to; nothing where the key was only re-armed, or the message published.
    pub ran: Option<RunOutcome>,
}

/// What a run of a letter came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunOutcome {
    /// The handler's result, as JSON.
    Done(Json),
    /// It did not succeed.
    Failed {
        /// The error's text.
        error: String,
        /// The letter that is open now, where there is one.
        letter: Option<DeadLetterId>,
    },
}
