//! Whether a letter can be run here, or its message published; if not, why, and what to do.

use idem_runtime::dead_letters::Reason;
use idem_runtime::{DeadLetter, LetterState, Origin};

use super::Inner;

impl Inner {
    /// Returns why the letter cannot be run here, if it cannot.
    pub(super) fn why_not_run(&self, letter: &DeadLetter) -> Option<String> {
        let handler = &letter.handler;
        let unknown = || {
            (!self.idem.can_run(letter)).then(|| {
                format!(
                    "handler `{handler}` is not registered in this service, and no consumer of the letter's source runs \
                     here: start its consumer, register it with `idem.register_handler(\"{handler}\", …)`, or redrive \
                     without a run and publish the message again"
                )
            })
        };
        closed(letter)
            .or_else(unknown)
            .or_else(|| key_reused(letter))
            .or_else(|| incomplete(letter))
            .or_else(|| self.unopened(letter))
            .or_else(|| truncated(letter))
    }

    /// Returns why the letter's message cannot be published from here, if it cannot.
    pub(super) fn why_not_publish(&self, letter: &DeadLetter) -> Option<String> {
        let no_publisher = || {
            let Some(place) = letter.origin.as_ref().map(Origin::place) else {
                return Some(
                    "no broker brought it: run it, or redrive it and call its handler".to_owned(),
                );
            };
            (!self.idem.can_republish(&place)).then(|| {
                format!(
                    "this service has no publisher for `{place}`: start its consumer, or register one with \
                     `idem.register_publisher(\"{place}\", …)`"
                )
            })
        };
        closed(letter)
            .or_else(no_publisher)
            .or_else(|| incomplete(letter))
            .or_else(|| self.unopened(letter))
            .or_else(|| truncated(letter))
    }

    /// Its redacted parts are sealed with a key that this service does not have.
    fn unopened(&self, letter: &DeadLetter) -> Option<String> {
        let sealed = letter.sealed.as_ref()?;
        (!self.idem.can_open(letter)).then(|| {
            let key = &sealed.key;
            format!(
                "its redacted parts are sealed with seal key `{key}`, which this service does not have: give it to \
                 `Idem::builder().seal(…)`, or run it with a payload in which they are filled in"
            )
        })
    }
}

fn closed(letter: &DeadLetter) -> Option<String> {
    match letter.state {
        LetterState::Redriven => {
            Some("it has been redriven: see what happened to its key".to_owned())
        }
        LetterState::Discarded => Some("it is discarded: restore it first".to_owned()),
        _ => None,
    }
}

fn incomplete(letter: &DeadLetter) -> Option<String> {
    let missing = redacted(letter);
    (!missing.is_empty()).then(|| {
        format!(
            "redacted parts are not stored: run it with a payload in which `{}` is filled in",
            missing.join("`, `")
        )
    })
}

/// The key is another message's, and the payload has not been edited since.
fn key_reused(letter: &DeadLetter) -> Option<String> {
    (letter.reason == Reason::KeyReused && !letter.is_edited()).then(|| {
        "its key is another message's: edit the payload so that it has its own key, then run it; or discard it".to_owned()
    })
}

/// The message was too large to be stored, and the payload has not been completed since.
fn truncated(letter: &DeadLetter) -> Option<String> {
    letter.cut_off().map(|size| {
        format!(
            "only the beginning of its message, which has {size} bytes, is stored: edit it so that it \
             is complete, or publish the message again from its source"
        )
    })
}

/// Returns the paths of the payload's redacted parts that are not filled in.
pub(super) fn redacted(letter: &DeadLetter) -> Vec<String> {
    letter.missing().map(str::to_owned).collect()
}
