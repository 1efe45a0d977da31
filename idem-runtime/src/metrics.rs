//! Metrics through the `metrics` facade. None holds a payload.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use metrics::{
    Key, Label, Level, Metadata, SharedString, Unit, counter, describe_counter, describe_gauge,
    describe_histogram, gauge, with_recorder,
};

use crate::error::Error;
use crate::ledger::Waiting;

/// Describes idem's metrics to the process's recorder. Each Idem does this when it opens; call it
/// again after installing a recorder later.
pub fn describe_metrics() {
    describe_counter!(
        "idem_calls_total",
        Unit::Count,
        "Calls of a handler, by what the caller got"
    );
    describe_counter!(
        "idem_attempts_total",
        Unit::Count,
        "Ended attempts, by outcome"
    );
    describe_counter!(
        UNDECODABLE,
        Unit::Count,
        "Calls whose recorded result does not decode as the handler's type of today"
    );
    describe_histogram!(
        "idem_body_seconds",
        Unit::Seconds,
        "Time in a handler's body, one attempt"
    );
    describe_histogram!(
        "idem_commit_seconds",
        Unit::Seconds,
        "Time of one group commit: a sync of the folder, or a batch of a store"
    );
    describe_histogram!(
        "idem_commit_group_size",
        Unit::Count,
        "Steps in one group commit"
    );
    describe_counter!(
        "idem_store_errors_total",
        Unit::Count,
        "Calls of the store that failed, by what is known of them"
    );
    describe_counter!(
        "idem_steps_overtaken_total",
        Unit::Count,
        "Steps that were decided again, because another process wrote the record first"
    );
    describe_counter!(
        "idem_runner_lives_total",
        Unit::Count,
        "Lives of the process on a ledger of several machines: another one each time it was taken for dead"
    );
    describe_gauge!(
        "idem_calls_waiting",
        Unit::Count,
        "Calls that wait for a record that runs, on a ledger of several machines"
    );
    describe_gauge!(
        "idem_handler_paused",
        Unit::Count,
        "Whether a handler is paused: 1, else 0"
    );
    describe_counter!(
        "idem_calls_paused_total",
        Unit::Count,
        "Calls that were turned away because their handler was paused"
    );
    describe_gauge!(
        "idem_dead_letters_open",
        Unit::Count,
        "Dead letters that wait for a person"
    );
    describe_gauge!(
        WAITING,
        Unit::Count,
        "Messages that wait for their next attempt"
    );
    describe_gauge!(
        OLDEST,
        Unit::Seconds,
        "Time since the oldest message that waits for its next attempt came first; 0 if none waits"
    );
}

const CALLS: &str = "idem_calls_total";
const ATTEMPTS: &str = "idem_attempts_total";
const BODY: &str = "idem_body_seconds";
const WAITING: &str = "idem_messages_waiting";
const OLDEST: &str = "idem_oldest_message_seconds";
const UNDECODABLE: &str = "idem_results_undecodable_total";

static METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// One handler's metrics. The keys that nearly every call uses are built once.
#[derive(Debug)]
pub(crate) struct Meters {
    handler: SharedString,
    done: Key,
    replayed: Key,
    attempt_done: Key,
    body: Key,
}

impl Meters {
    pub(crate) fn new(handler: Arc<str>) -> Self {
        let handler = SharedString::from_shared(handler);
        Self {
            done: counted(CALLS, &handler, "done"),
            replayed: counted(CALLS, &handler, "replayed"),
            attempt_done: counted(ATTEMPTS, &handler, "done"),
            body: Key::from_parts(BODY, vec![Label::new("handler", handler.clone())]),
            handler,
        }
    }

    /// Counts an ended call by what its caller got.
    pub(crate) fn call(&self, outcome: &'static str) {
        match outcome {
            "done" => count(&self.done),
            "replayed" => count(&self.replayed),
            outcome => count(&counted(CALLS, &self.handler, outcome)),
        }
    }

    /// Counts a recorded result that does not decode.
    pub(crate) fn undecodable(&self) {
        let handler = Label::new("handler", self.handler.clone());
        count(&Key::from_parts(UNDECODABLE, vec![handler]));
    }

    /// Counts an ended attempt, and records how long it took.
    pub(crate) fn attempt(&self, outcome: &'static str, took: Duration) {
        match outcome {
            "done" => count(&self.attempt_done),
            outcome => count(&counted(ATTEMPTS, &self.handler, outcome)),
        }
        with_recorder(|recorder| recorder.register_histogram(&self.body, &METADATA)).record(took);
    }
}

fn counted(name: &'static str, handler: &SharedString, outcome: &'static str) -> Key {
    Key::from_parts(
        name,
        vec![
            Label::new("handler", handler.clone()),
            Label::new("outcome", outcome),
        ],
    )
}

fn count(key: &Key) {
    with_recorder(|recorder| recorder.register_counter(key, &METADATA)).increment(1);
}

/// Counts a call that was refused before it reached the ledger.
pub(crate) fn refused(handler: &str, error: &Error) {
    count(&counted(
        CALLS,
        &SharedString::from_owned(handler.to_owned()),
        error.kind().as_str(),
    ));
    tracing::debug!(
        handler,
        key = error.key(),
        outcome = error.kind().as_str(),
        "call ended"
    );
}

/// Sets the number of open letters.
pub(crate) fn open_letters(count: u64) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float, and exact up to 2^53"
    )]
    gauge!("idem_dead_letters_open").set(count as f64);
}

/// Says whether a handler is paused.
pub(crate) fn paused(handler: &str, paused: bool) {
    gauge!("idem_handler_paused", "handler" => handler.to_owned()).set(f64::from(u8::from(paused)));
}

/// Counts a call that was turned away because its handler is paused.
pub(crate) fn turned_away(handler: &str) {
    counter!("idem_calls_paused_total", "handler" => handler.to_owned()).increment(1);
}

/// Sets the number of messages that wait for their next attempt, and the age of the oldest.
pub(crate) fn waiting(waiting: Waiting, now: Timestamp) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float, and exact up to 2^53"
    )]
    gauge!(WAITING).set(waiting.count as f64);
    let age = waiting.oldest.map(|oldest| now.duration_since(oldest));
    gauge!(OLDEST).set(age.map_or(0.0, |age| age.as_secs_f64().max(0.0)));
}
