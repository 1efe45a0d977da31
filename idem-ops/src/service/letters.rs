//! Letters as queries return them: a page with a line for each, or one in full.

use idem_runtime::clock::Timestamp;
use idem_runtime::dead_letters::{Reason, RunOutcome};
use idem_runtime::{DeadLetter, DeadLetterId, LetterState};
use serde::{Deserialize, Serialize};

/// The maximum number of letters, groups, bulk jobs or entries on one page.
pub const LONGEST_PAGE: usize = 500;
/// The number of entries on a page by default.
pub const PAGE: usize = 100;

/// A query for letters, newest first; open ones by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LetterQuery {
    /// Only letters of this handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// Only letters of this idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Only letters of this kind of error, as [`Group::error`](super::Group::error) has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Only letters in these states.
    #[serde(default)]
    pub state: StateFilter,
    /// The [`LetterPage::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DeadLetterId>,
    /// The maximum number of letters, from 1 to [`LONGEST_PAGE`]; [`PAGE`] by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The states of letters that a query takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateFilter {
    /// Letters that wait for a person.
    #[default]
    Open,
    /// Letters whose key was re-armed.
    Redriven,
    /// Letters that were closed without another run.
    Discarded,
    /// All letters.
    Any,
}

impl StateFilter {
    /// Returns whether letters of this state are taken.
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
    /// The letters, at most `limit`. A page beyond the index may have fewer or none, and a next
    /// page.
    pub letters: Vec<LetterLine>,
    /// The `after` of the next page; `None` on the last one.
    pub next: Option<DeadLetterId>,
    /// The number of letters on all pages, as far as it is known.
    pub total: u64,
    /// Whether all letters have been read since the start; until then there may be more, and totals
    /// are too small.
    pub complete: bool,
    /// Whether there are letters older than the index, which `total` does not count. The pages
    /// include them.
    #[serde(default)]
    pub at_least: bool,
}

/// A letter in one line of a list, without its payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LetterLine {
    /// The letter's id.
    pub id: DeadLetterId,
    /// The handler's name in the ledger.
    pub handler: String,
    /// The idempotency key.
    pub key: String,
    /// Its state.
    pub state: LetterState,
    /// Why it became a dead letter.
    pub reason: Reason,
    /// The last attempt's error, up to 4 KiB.
    pub error: Option<String>,
    /// The kind of error, by which letters are grouped.
    pub kind: String,
    /// The number of attempts.
    pub attempts: u32,
    /// When the message came first.
    pub first_seen: Timestamp,
    /// When it became a dead letter.
    pub died_at: Timestamp,
    /// When it was redriven or discarded.
    pub closed_at: Option<Timestamp>,
    /// Whether it can be run here as it is.
    pub can_run: bool,
    /// Why it cannot be run here, and what to do.
    pub why_not: Option<String>,
    /// Whether its message can be published back to its broker from here as it is.
    #[serde(default)]
    pub can_publish: bool,
}

/// One letter in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LetterView {
    /// The letter with its payload, its attempts and its history.
    pub letter: DeadLetter,
    /// The kind of error, by which letters are grouped.
    pub kind: String,
    /// The paths of the payload's redacted parts that are not filled in; the letter cannot run
    /// without them.
    pub redacted: Vec<String>,
    /// Whether it can be run here as it is.
    pub can_run: bool,
    /// Why it cannot be run here, and what to do.
    pub why_not: Option<String>,
    /// Whether its message can be published back to its broker from here as it is.
    #[serde(default)]
    pub can_publish: bool,
    /// Why it cannot be published from here, and what to do.
    #[serde(default)]
    pub why_not_publish: Option<String>,
}

/// The result of a redrive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Redriven {
    /// The letter as it is now.
    pub letter: LetterView,
    /// The outcome of the run; `None` if the key was only re-armed or the message published.
    pub ran: Option<RunOutcome>,
}
