//! A key that two messages have, as a letter shows it.

use std::fmt;

use jiff::Timestamp;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::letter::DeadLetterId;
use crate::protocol::encoding::cbor;

/// The message that has the key, as it was when another one with that key was buried, and the
/// differences of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[non_exhaustive]
pub struct Reused {
    /// The state of the message that has the key.
    #[n(0)]
    pub by: Holder,
    /// The places in which the two differ, at most [`Reused::MOST`] of them. `None` if the content
    /// of the other one is no longer kept.
    #[n(1)]
    pub differences: Option<Vec<Difference>>,
    /// The number of further places in which they differ.
    #[n(2)]
    pub more: u64,
}

impl Reused {
    /// The largest number of differences that a letter lists.
    pub const MOST: usize = 20;

    pub(crate) fn new(by: Holder, mut differences: Option<Vec<Difference>>) -> Self {
        let all = differences.as_ref().map_or(0, Vec::len);
        if let Some(differences) = &mut differences {
            differences.truncate(Self::MOST);
        }
        Self {
            by,
            differences,
            more: all.saturating_sub(Self::MOST) as u64,
        }
    }

    /// Returns whether the message that has the key had a result.
    pub fn is_done(&self) -> bool {
        matches!(self.by, Holder::Done { .. })
    }
}

impl fmt::Display for Reused {
    /// Names the places, and never a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.by)?;
        match self.differences.as_deref() {
            None => f.write_str("; its content is no longer kept"),
            Some([]) => f.write_str("; they differ in redacted parts only"),
            Some(differences) => {
                f.write_str("; they differ in ")?;
                for (place, difference) in differences.iter().enumerate() {
                    write!(
                        f,
                        "{}`{}`",
                        if place == 0 { "" } else { ", " },
                        difference.path
                    )?;
                }
                if self.more > 0 {
                    write!(f, " and {} more places", self.more)
                } else {
                    Ok(())
                }
            }
        }
    }
}

/// The state of the message that has a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Holder {
    /// An attempt is running.
    #[n(0)]
    Running {
        /// When it was claimed.
        #[n(0)]
        #[cbor(with = "cbor::millis")]
        since: Timestamp,
    },
    /// An attempt failed, and another one may follow.
    #[n(1)]
    Waiting {
        /// When the next one may start.
        #[n(0)]
        #[cbor(with = "cbor::millis")]
        until: Timestamp,
    },
    /// It has a result.
    #[n(2)]
    Done {
        /// When it was recorded.
        #[n(0)]
        #[cbor(with = "cbor::millis")]
        at: Timestamp,
    },
    /// Its dead letter is open.
    #[n(3)]
    Dead {
        /// Its letter.
        #[n(0)]
        letter: DeadLetterId,
    },
    /// Its dead letter was discarded.
    #[n(4)]
    Discarded {
        /// Its letter.
        #[n(0)]
        letter: DeadLetterId,
    },
    /// It is no longer recorded.
    #[n(5)]
    Gone,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running { since } => write!(f, "running since {since:.0}"),
            Self::Waiting { until } => write!(f, "waiting for its next attempt at {until:.0}"),
            Self::Done { at } => write!(f, "done since {at:.0}"),
            Self::Dead { letter } => write!(f, "dead letter {letter}"),
            Self::Discarded { letter } => write!(f, "discarded, as dead letter {letter}"),
            Self::Gone => f.write_str("forgotten by now"),
        }
    }
}

/// A place in which two messages with one key differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[non_exhaustive]
pub struct Difference {
    /// A dotted path, an argument's name first; elements of arrays by their number.
    #[n(0)]
    pub path: String,
    /// The value in the message that has the key, as JSON of at most [`Difference::LONGEST`] bytes.
    /// `None` if it does not have this place.
    #[n(1)]
    pub theirs: Option<String>,
    /// The value in this message.
    #[n(2)]
    pub ours: Option<String>,
}

impl Difference {
    /// The longest value that is shown, in bytes; `…` stands at the end of a longer one.
    pub const LONGEST: usize = 200;
}
