//! What operators see: metrics through the `metrics` facade, events through `tracing`. Never a payload.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::error::Error;
use crate::protocol::DeadLetter;

/// Tells the recorder what the names mean; harmless when repeated.
pub(crate) fn describe() {
    describe_counter!("idem_calls_total", Unit::Count, "Calls of a handler, by what the caller got");
    describe_counter!("idem_attempts_total", Unit::Count, "Ended attempts, by outcome");
    describe_histogram!("idem_body_seconds", Unit::Seconds, "Time in a handler's body, one attempt");
    describe_histogram!("idem_commit_seconds", Unit::Seconds, "Time of one group commit, sync included");
    describe_histogram!("idem_commit_group_size", Unit::Count, "Steps in one group commit");
    describe_gauge!("idem_dead_letters_open", Unit::Count, "Dead letters that wait for a person");
}

/// A call ended, and its caller got this.
pub(crate) fn call(handler: &str, outcome: &'static str) {
    counter!("idem_calls_total", "handler" => handler.to_owned(), "outcome" => outcome).increment(1);
}

/// A call was refused before it had anything to do with the ledger.
pub(crate) fn refused(handler: &str, error: &Error) {
    call(handler, error.kind());
    tracing::debug!(handler, key = error.key(), outcome = error.kind(), "call ended");
}

/// An attempt ended.
pub(crate) fn attempt(handler: &str, outcome: &'static str, took: Duration) {
    counter!("idem_attempts_total", "handler" => handler.to_owned(), "outcome" => outcome).increment(1);
    histogram!("idem_body_seconds", "handler" => handler.to_owned()).record(took);
}

/// A group was committed.
pub(crate) fn commit(took: Duration, steps: usize) {
    histogram!("idem_commit_seconds").record(took);
    // A group holds at most a thousand.
    histogram!("idem_commit_group_size").record(u32::try_from(steps).unwrap_or(u32::MAX));
}

/// So many letters are open.
pub(crate) fn open_letters(count: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 2^53")]
    gauge!("idem_dead_letters_open").set(count as f64);
}

/// A letter was written.
pub(crate) fn died(letter: &DeadLetter) {
    tracing::error!(
        handler = letter.handler,
        key = letter.key,
        letter = %letter.id,
        reason = %letter.reason,
        attempts = letter.attempts.len(),
        error = letter.last_error().unwrap_or_default(),
        "dead letter: the message will not run again until it is redriven"
    );
}
