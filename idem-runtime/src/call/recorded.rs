//! A recorded result: of this version of its handler, or of another one, which may not decode today.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::Value;

use super::machine::Drive;
use super::own::text_of;
use super::panic::caught;
use crate::error::{CodecStage, Error};
use crate::handler::bounds::{Outcome, Upgrades};
use crate::json::problem::json_problem;
use crate::trace::TraceParent;

/// How long after one warning the next one of a handler is logged, in milliseconds: a message that
/// does not decode mostly comes with many others.
const QUIET: i64 = 60_000;

/// A recorded result.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) json: Arc<[u8]>,
    /// When it was recorded, by the ledger's clock.
    pub(crate) at: Timestamp,
    /// The handler's version when it was recorded.
    pub(crate) version: u32,
    /// The trace of the run that made it.
    pub(crate) trace: Option<TraceParent>,
}

/// What `upgrade` makes of an older result, kept where the caller wants it.
pub(super) type ReadsOlder<'a> = &'a mut dyn FnMut(u32, Value) -> Result<(), String>;

/// Turns an older result into today's, or returns why it cannot be.
pub(super) fn read_older(recorded: &Recorded, upgrade: ReadsOlder<'_>) -> Result<(), String> {
    let from = recorded.version;
    let json = serde_json::from_slice(&recorded.json).map_err(|error| json_problem(&error))?;
    let (mut json, mut outcome) = (Some(json), Ok(()));
    caught(&mut || outcome = json.take().map_or(Ok(()), |json| upgrade(from, json)))
        .map_err(|panic| format!("`upgrade` panicked: {panic}"))?;
    outcome.map_err(|problem| format!("`upgrade` failed: {problem}"))
}

/// Returns what an `upgrade` function made, with its error as a text.
///
/// # Errors
/// The function's own. One of serde_json is described without the values that it quotes.
pub fn upgraded<R: Outcome, U: Upgrades<R::Ok>>(made: U) -> Result<R::Ok, String> {
    made.upgraded().map_err(|error| match of_json(&error) {
        Some(error) => json_problem(error),
        None => text_of(&error as &dyn Display),
    })
}

/// Returns the error of serde_json that an error is, also boxed as `?` boxes it.
fn of_json(error: &dyn Any) -> Option<&serde_json::Error> {
    let sendable = || {
        error
            .downcast_ref::<Box<dyn StdError + Send + Sync>>()?
            .downcast_ref()
    };
    let boxed = || error.downcast_ref::<Box<dyn StdError>>()?.downcast_ref();
    error.downcast_ref().or_else(sendable).or_else(boxed)
}

impl Drive {
    /// Ends the call with the error that its recorded result is none of the handler's today.
    pub(super) fn unreadable(&mut self, recorded: u32, problem: &str) -> Error {
        let version = self.handler().version;
        let problem = match recorded {
            _ if recorded == version => problem.to_owned(),
            _ if recorded > version => format!(
                "it was recorded by version {recorded}, and this program has an older one, \
                 {version}: {problem}"
            ),
            _ => format!(
                "it was recorded by version {recorded}, and this program has version {version}: \
                 {problem}"
            ),
        };
        self.request.named.meters.undecodable();
        if self.is_due() {
            tracing::warn!(
                handler = &*self.id().handler,
                key = &*self.id().key,
                recorded_version = recorded,
                version,
                problem,
                "a recorded result no longer decodes, so its duplicates get an error; others of \
                 this handler are counted and not logged for a minute"
            );
        }
        let error = self.codec(CodecStage::RecordedResult, problem);
        self.count_call(error.kind().as_str());
        self.set_verdict(|| error.verdict());
        error
    }

    /// Returns whether the handler's next warning is due, for one of its calls.
    fn is_due(&self) -> bool {
        let logged = &self.request.named.undecodable_logged;
        let now = self.idem().shared().clock.now().as_millisecond();
        let last = logged.load(Ordering::Relaxed);
        !(last..last.saturating_add(QUIET)).contains(&now)
            && logged
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
