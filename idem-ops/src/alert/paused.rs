//! Paused handlers in a notice, and their words.

use idem_runtime::clock::Timestamp;
use idem_runtime::pause::{Pause, PauseCause};
use serde::{Deserialize, Serialize};

use super::notice::{Notice, NoticeKind};
use super::text::{GroupStory, one_line, seconds, subject_part};

/// A handler that is paused, or no longer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PausedHandler {
    /// The handler's name in the ledger.
    pub handler: String,
    /// What began the pause.
    pub cause: PauseCause,
    /// Why it began: the last error, or what the person said.
    pub why: String,
    /// The person who began it, if one did.
    pub by: Option<String>,
    /// When it began.
    pub since: Timestamp,
    /// How long it has lasted, in seconds.
    pub seconds: u64,
    /// How many calls were turned away, as far as the ledger knows.
    pub turned_away: u64,
}

impl PausedHandler {
    /// Describes a pause as it is at this time.
    pub fn new(pause: &Pause, now: Timestamp) -> Self {
        let lasted = now.duration_since(pause.since).as_secs();
        Self {
            handler: pause.handler.clone(),
            cause: pause.cause,
            why: pause.why.clone(),
            by: pause.by.clone(),
            since: pause.since,
            seconds: u64::try_from(lasted).unwrap_or(0),
            turned_away: pause.turned_away,
        }
    }
}

/// Returns the subject of a notice about pauses, after the service's name.
pub(super) fn subject(notice: &Notice) -> Option<String> {
    let one = match notice.paused.as_slice() {
        [] => return None,
        [one] => Some(one),
        _ => None,
    };
    let who = match one {
        Some(one) => format!("{} is", subject_part(&one.handler, 60)),
        None => format!("{} handlers are", notice.paused.len()),
    };
    let state = match notice.kind {
        NoticeKind::StillPaused => "still paused",
        NoticeKind::Resumed => "no longer paused",
        _ => "paused",
    };
    let more = one.map(|one| match notice.kind {
        NoticeKind::Resumed => format!(" — {}", duration(one.seconds)),
        _ => format!(" — {}", subject_part(&one.why, 70)),
    });
    Some(format!("{who} {state}{}", more.unwrap_or_default()))
}

/// Returns what a notice about pauses means, and what to do.
pub(super) fn intro(notice: &Notice) -> &'static str {
    let by_hand = |one: &PausedHandler| one.cause == PauseCause::Person;
    if notice.kind == NoticeKind::Resumed {
        "Messages run again, those that waited too."
    } else if notice.paused.iter().all(by_hand) {
        "Messages wait and cost no attempt until a person resumes the handler: `idem resume`, or the dashboard."
    } else {
        "Messages wait and cost no attempt. One at a time is let through to see, and the handler goes on by itself once \
         one succeeds: mend what it needs."
    }
}

pub(super) fn story(one: &PausedHandler) -> GroupStory {
    let by = one.by.iter().map(|by| format!(" by {}", one_line(by, 60)));
    let calls = if one.turned_away == 1 {
        "call was"
    } else {
        "calls were"
    };
    GroupStory {
        head: format!(
            "{} — {}",
            one_line(&one.handler, 100),
            one_line(&one.why, 300)
        ),
        since: format!(
            "since {}{}, for {}",
            seconds(one.since),
            by.collect::<String>(),
            duration(one.seconds)
        ),
        letters: Vec::new(),
        more: Some(format!("{} {calls} turned away", one.turned_away)),
    }
}

/// Returns a time in its two largest units.
fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
