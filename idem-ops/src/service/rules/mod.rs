//! Redrive rules: letters of some errors are redriven every so often, a few times, until a time.
//!
//! The rules are notes in the ledger, put there by a person or a configuration. Of the replicas on
//! the ledger, the one that holds a lease in the notes follows them. What a rule did is in the
//! letters' histories under its name, which is also how its tries are counted.

mod store;
mod worker;

use std::time::Duration;

use idem_runtime::DeadLetter;
use idem_runtime::clock::Timestamp;
use jiff::fmt::serde::unsigned_duration::friendly::compact;
use serde::{Deserialize, Serialize};

use super::bulk::BulkAction;
use super::error::ServiceError;
use crate::alert::kind_of_error;

pub(crate) use store::configure;

/// The shortest time between two tries of a letter.
const SHORTEST: Duration = Duration::from_secs(60);
/// The most tries of a letter.
const MOST_TIMES: u32 = 100;
/// The longest name.
const LONGEST_NAME: usize = 64;

/// A rule by which letters are redriven without a person.
///
/// It takes the open letters that match, once `every` has passed since they died or were last
/// redriven by it, and at most `times` times for each key. A letter that was redriven in vain stays
/// open, and people are told of it as of any other.
///
/// ```
/// let rule: idem_ops::service::RedriveRule = serde_json::from_str(
///     r#"{ "name": "bank-is-down", "error": "connection refused", "every": "1h", "times": 3,
///          "until": "2026-12-04T18:00:00Z" }"#,
/// )?;
/// assert_eq!((rule.times, rule.at_most), (3, 100));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedriveRule {
    /// The name, of letters, digits, `-`, `_` and `.`. The audit log and the histories have it as
    /// `rule NAME`.
    pub name: String,
    /// Only letters of this handler. A rule needs a handler, an error, or both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// Only letters whose last error has this text in it, or is of this kind, as
    /// [`Group::error`](super::Group::error) has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Only letters that died at most so long ago, as `2d`.
    #[serde(
        default,
        with = "compact::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_age: Option<Duration>,
    /// The action; [`BulkAction::Run`] by default. It cannot be [`BulkAction::Discard`].
    #[serde(default = "run")]
    pub action: BulkAction,
    /// The time before each try, as `1h`; a minute at least.
    #[serde(with = "compact::required")]
    pub every: Duration,
    /// How often the letters of one key are redriven, from 1 to 100.
    pub times: u32,
    /// The time at which the rule ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How many letters are redriven in an hour at most, which begins with a letter; 100 by default.
    #[serde(default = "at_most")]
    pub at_most: u32,
}

fn run() -> BulkAction {
    BulkAction::Run
}

fn at_most() -> u32 {
    100
}

/// A rule in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SetRule {
    /// The rule.
    pub rule: RedriveRule,
    /// The person who set it; `None` if a configuration did.
    pub who: Option<String>,
    /// Their reason.
    pub why: Option<String>,
    /// When it was set.
    pub at: Timestamp,
    /// When the hour began in which letters are counted: with its first letter.
    pub hour: Timestamp,
    /// How many letters were redriven in that hour.
    pub redriven: u32,
}

impl RedriveRule {
    /// Checks the values of the fields.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`], which names the field.
    pub fn check(&self) -> Result<(), ServiceError> {
        let invalid = |field, why: String| Err(ServiceError::Invalid { field, why });
        if !Self::is_name(&self.name) || self.name.len() > LONGEST_NAME {
            let why = format!(
                "is not a rule's name: it has 1 to {LONGEST_NAME} letters, digits, `-`, `_` and `.`"
            );
            return invalid("name", why);
        }
        let none = |text: &Option<String>| text.as_ref().is_none_or(|text| text.trim().is_empty());
        if none(&self.handler) && none(&self.error) {
            let why = "is missing: a rule needs a handler, an error, or both".to_owned();
            return invalid("error", why);
        }
        if self.action == BulkAction::Discard {
            let why = "is `discard`: a rule can `run`, `publish` or `rearm`".to_owned();
            return invalid("action", why);
        }
        if self.every < SHORTEST {
            return invalid("every", "is shorter than a minute".to_owned());
        }
        if !(1..=MOST_TIMES).contains(&self.times) {
            let why = format!("is {}: it can be from 1 to {MOST_TIMES}", self.times);
            return invalid("times", why);
        }
        if self.at_most == 0 {
            return invalid("at_most", "is 0: nothing would be redriven".to_owned());
        }
        Ok(())
    }

    /// Returns whether a text has the characters of a rule's name, and at least one.
    pub fn is_name(text: &str) -> bool {
        let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !text.is_empty() && text.chars().all(named)
    }

    /// Returns the name under which it acts.
    pub(super) fn who(&self) -> String {
        format!("rule {}", self.name)
    }

    /// Returns whether it is over.
    fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Returns whether it takes letters with this one's error. The handler is the query's.
    fn takes(&self, letter: &DeadLetter) -> bool {
        let Some(error) = &self.error else {
            return true;
        };
        let has = |text: &str| text.contains(error.as_str());
        letter.last_error().is_some_and(has) || kind_of_error(letter) == *error
    }
}
