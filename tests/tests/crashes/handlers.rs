//! The handlers that crash, and the notes of what their callers were told.

use std::path::PathBuf;

use idem_crashtest::Process;
use idem_runtime::{DeadLetterId, Error, idempotent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Oops {
    #[error("{0}")]
    Own(&'static str),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Idem(#[from] Error),
}

/// What a scenario notes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Note {
    /// A call of this handler and key got this answer.
    Told(String, String, Answer),
    /// These keys are in the outbox.
    Waiting(Vec<String>),
    /// A letter of this handler and key is about to be redriven.
    Redriving(String, String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Ok(Value),
    /// The body's own error.
    Own,
    Dead(DeadLetterId),
}

pub(crate) fn note(process: &Process, note: &Note) {
    process.note(serde_json::to_string(note).unwrap());
}

/// Makes a call and notes its answer; an answer of another kind fails the walk.
pub(crate) async fn told<T: Serialize>(
    process: &Process,
    handler: &str,
    key: &str,
    call: impl Future<Output = Result<T, Oops>>,
) {
    let answer = match call.await {
        Ok(value) => Answer::Ok(serde_json::to_value(value).unwrap()),
        Err(Oops::Own(_)) => Answer::Own,
        Err(Oops::Idem(Error::DeadLettered { id, .. })) => Answer::Dead(id),
        Err(other) => panic!("{handler} {key} was told {other}"),
    };
    note(
        process,
        &Note::Told(handler.to_owned(), key.to_owned(), answer),
    );
}

fn attempt() -> u32 {
    idem_runtime::attempt().unwrap().number
}

#[idempotent(name = "good", key = "key", retries = 3)]
pub(crate) async fn good(key: String) -> Result<usize, Oops> {
    Ok(key.len())
}

#[idempotent(name = "good_now", key = "key", retries = 3)]
pub(crate) fn good_now(key: u32) -> Result<u32, Oops> {
    Ok(key * 7)
}

/// Those with an even length fail the first time.
#[idempotent(name = "many", each = "keys", retries = 3, backoff(initial = "1ms"))]
pub(crate) async fn many(keys: Vec<String>) -> Vec<Result<usize, Oops>> {
    let is_first = keys.len() > 1;
    let results = keys.iter().map(|key| match key.len() {
        even if is_first && even % 2 == 0 => Err(Oops::Own("not yet")),
        length => Ok(length),
    });
    results.collect()
}

/// A body with "X" ends the process.
#[idempotent(name = "deadly_among", each = "keys", retries = 3)]
pub(crate) async fn deadly_among(keys: Vec<String>) -> Vec<Result<usize, Oops>> {
    if keys.iter().any(|key| key == "X") {
        std::process::abort();
    }
    keys.iter().map(|key| Ok(key.len())).collect()
}

/// Two attempts fail.
#[idempotent(name = "flaky", key = "key", retries = 3, backoff(initial = "1ms"))]
pub(crate) async fn flaky(key: String) -> Result<String, Oops> {
    if attempt() <= 2 {
        Err(Oops::Own("not yet"))
    } else {
        Ok(key)
    }
}

#[idempotent(name = "hopeless", key = "key", retries = 2, backoff(initial = "1ms"))]
pub(crate) async fn hopeless(key: String) -> Result<(), Oops> {
    Err(Oops::Own("never"))
}

#[idempotent(name = "refused", key = "key", retries = 3, retry_if = never)]
pub(crate) async fn refused(key: String) -> Result<(), Oops> {
    Err(Oops::Own("no such article"))
}

fn never(_: &Oops) -> bool {
    false
}

/// The first attempt ends the process.
#[idempotent(name = "aborting", key = "key", retries = 3)]
pub(crate) async fn aborting(key: String) -> Result<u32, Oops> {
    if attempt() == 1 {
        std::process::abort();
    }
    Ok(5)
}

/// Every attempt ends the process.
#[idempotent(name = "deadly", key = "key", retries = 1)]
pub(crate) async fn deadly(key: String) -> Result<u32, Oops> {
    std::process::abort()
}

/// The first attempt removes the ledger's witness and ends the process.
#[idempotent(name = "unwitnessed", key = "key", retries = 3, skip(process))]
pub(crate) async fn unwitnessed(key: String, process: Process) -> Result<String, Oops> {
    if attempt() == 1 {
        std::fs::remove_file(process.data().join("witness"))?;
        std::process::abort();
    }
    Ok(key)
}

#[idempotent(name = "buried", key = "key", retries = 3, on_crash = "bury")]
pub(crate) async fn buried(key: String) -> Result<u32, Oops> {
    Ok(1)
}

/// Like [`buried`], but it ends its process.
#[idempotent(name = "deadly_buried", key = "key", retries = 3, on_crash = "bury")]
pub(crate) async fn deadly_buried(key: String) -> Result<u32, Oops> {
    std::process::abort()
}

/// Payload and result take several chunks each.
#[idempotent(name = "large", key = "key", retries = 3, backoff(initial = "1ms"))]
pub(crate) async fn large(key: String, payload: String) -> Result<String, Oops> {
    if attempt() == 1 {
        Err(Oops::Own("once more"))
    } else {
        Ok(payload.repeat(2))
    }
}

/// A letter with a payload of several chunks.
#[idempotent(
    name = "large_hopeless",
    key = "key",
    retries = 1,
    backoff(initial = "1ms")
)]
pub(crate) async fn large_hopeless(key: String, payload: String) -> Result<(), Oops> {
    Err(Oops::Own("never"))
}

/// Writes a line into a business table, once for all its attempts.
#[idempotent(name = "ordered", key = "order_no", retries = 3, existing = find_order, skip(table))]
pub(crate) async fn ordered(order_no: String, table: PathBuf) -> Result<usize, Oops> {
    use std::io::Write;
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&table)?;
    file.write_all(format!("{order_no}\n").as_bytes())?;
    Ok(order_no.len())
}

async fn find_order(order_no: &String, table: &PathBuf) -> Result<Option<usize>, Oops> {
    let lines = if table.exists() {
        std::fs::read_to_string(table)?
    } else {
        String::new()
    };
    Ok(lines
        .lines()
        .any(|line| line == order_no)
        .then_some(order_no.len()))
}
