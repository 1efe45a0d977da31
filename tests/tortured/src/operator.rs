//! The operator and the watcher: they see letters, redrive and discard some, and emit what they
//! see.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use idem_runtime::dead_letters::{LetterError, Watch};
use idem_runtime::ledger::LedgerError;
use idem_runtime::protocol::{Record as Remembered, RecordId, Settlement};
use idem_runtime::{DeadLetter, Filter, Idem, LetterState};
use tokio::sync::Mutex;

use crate::body::Message;
use crate::emit::{emit, emit_and_die, emit_away, emit_trouble};
use crate::event::{Event, Handler, Letter, Record};
use crate::table;

/// There is one operator, so a letter does not change between its listing and an act. The torturer
/// sees to it that no other process has one.
static AT_WORK: Mutex<()> = Mutex::const_new(());

/// Lists the newest open letters and closes some of them.
pub(crate) async fn operate(idem: Idem, seed: u64, kills: bool) {
    let _at_work = AT_WORK.lock().await;
    close_some(&idem, seed, kills).await;
    emit(&Event::Said);
}

async fn close_some(idem: &Idem, seed: u64, kills: bool) {
    let mut random = fastrand::Rng::with_seed(seed);
    let letters = idem.dead_letters();
    let open = match letters
        .list(&Filter::default().limit(random.usize(1..30)))
        .await
    {
        Ok(open) => open,
        Err(error) => return emit_failed("the open letters cannot be listed", &error),
    };
    let dies_of_seeing = kills && random.bool();
    for letter in open {
        let (n, id) = (number(&letter), letter.id.to_string());
        let seen = Event::Seen {
            n,
            letter: id.clone(),
        };
        // The newest letter may still be on its way to the disk.
        if dies_of_seeing {
            emit_and_die(&seen);
        } else {
            emit(&seen);
        }
        let redrive = match random.u32(..10) {
            0..4 => true,
            4 => false,
            _ => continue,
        };
        let record = letter.record_id();
        let token = match remembered(idem, &record).await {
            Some(Record::Dead { token, letter }) if letter == id => token,
            None => continue,
            other => {
                emit_trouble(format!(
                    "message {n} has the open letter {id}, and its record is {other:?}"
                ));
                continue;
            }
        };
        emit(&Event::Closing {
            n,
            letter: id.clone(),
            token,
            redrive,
        });
        let closed = if redrive {
            letters.redrive(&letter.id).await
        } else {
            letters.discard(&letter.id, "torture").await
        };
        match closed {
            Ok(_) if kills => emit_and_die(&Event::LetterClosed {
                n,
                letter: id,
                redrive,
            }),
            Ok(_) => emit(&Event::LetterClosed {
                n,
                letter: id,
                redrive,
            }),
            Err(LetterError::Ledger { source }) => {
                emit_failed(
                    &format!("message {n}: the open letter {id} cannot be closed"),
                    &source,
                );
            }
            Err(error) => emit_trouble(format!(
                "message {n}: the open letter {id} cannot be closed: {error:#}"
            )),
        }
    }
}

/// Emits letters as they are written.
pub(crate) async fn watch(mut letters: Watch) {
    while let Some(letter) = letters.next().await {
        emit(&Event::Seen {
            n: number(&letter),
            letter: letter.id.to_string(),
        });
    }
}

/// Emits all letters of every state, a page at a time.
pub(crate) async fn emit_letters(idem: &Idem) {
    let mut page = Filter::default().any_state().limit(500);
    loop {
        let letters = match idem.dead_letters().list(&page).await {
            Ok(letters) => letters,
            Err(error) => return emit_failed("the letters cannot be listed", &error),
        };
        letters
            .iter()
            .for_each(|letter| emit(&Event::Letter(described(letter))));
        match letters.last() {
            Some(last) => page = page.after(last.id),
            None => return emit(&Event::Said),
        }
    }
}

/// Emits the record of a message, and its rows.
pub(crate) async fn emit_record(idem: &Idem, n: u64, handler: Handler) {
    if handler.is_transactional() {
        match table::rows(n).await {
            Ok(rows) => rows
                .into_iter()
                .for_each(|(token, digest)| emit(&Event::Row { n, token, digest })),
            Err(error) => emit_trouble(format!("the rows of {n} cannot be read: {error:#}")),
        }
    }
    let id = RecordId::new(handler.name(), n.to_string());
    if let Some(record) = remembered(idem, &id).await {
        emit(&Event::Record { n, record });
    }
}

/// Returns the record, if the ledger can be reached.
async fn remembered(idem: &Idem, id: &RecordId) -> Option<Record> {
    let settled = match idem.record(id).await {
        Ok(Some(Remembered::Settled(settled))) => settled,
        Ok(Some(Remembered::Live(_))) => return Some(Record::Live),
        Ok(None) => return Some(Record::Absent),
        Err(error) => {
            emit_failed(&format!("the record of {id} cannot be read"), &error);
            return None;
        }
    };
    let token = settled.token;
    Some(match settled.end {
        Settlement::Done(_) => Record::Done { token },
        Settlement::Dead(letter) => Record::Dead {
            token,
            letter: letter.to_string(),
        },
        Settlement::Discarded(letter) => Record::Discarded {
            token,
            letter: letter.to_string(),
        },
        other => {
            emit_trouble(format!(
                "{id} is a handler's, and stands there as {other:?}"
            ));
            Record::Absent
        }
    })
}

/// Emits why the ledger did not do something.
fn emit_failed(what: &str, error: &LedgerError) {
    let text = format!("{what}: {error:#}");
    match error {
        LedgerError::Unavailable { .. } => emit_away(&text),
        _ => emit_trouble(text),
    }
}

fn described(letter: &DeadLetter) -> Letter {
    let attempts = letter
        .attempts
        .iter()
        .map(|attempt| (attempt.number, attempt.outcome.as_str().to_owned()));
    if (letter.state == LetterState::Open) != letter.closed_at.is_none() {
        emit_trouble(format!(
            "the letter {} is {:?}, closed at {:?}",
            letter.id, letter.state, letter.closed_at
        ));
    }
    Letter {
        n: number(letter),
        handler: letter.handler.clone(),
        letter: letter.id.to_string(),
        state: word(&letter.state),
        reason: word(&letter.reason),
        attempts: attempts.collect(),
        payload_fits: fits(letter),
    }
}

/// Returns whether the payload is the message and nothing else.
fn fits(letter: &DeadLetter) -> bool {
    let Ok(payload) = letter.payload.parse::<BTreeMap<String, Message>>() else {
        return false;
    };
    payload.len() == 1
        && payload
            .get("message")
            .is_some_and(|message| message.n == number(letter) && message.is_whole())
}

/// Returns the name that serde gives a value.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => panic!("{other:?} is not a word"),
    }
}

fn number(letter: &DeadLetter) -> u64 {
    letter.key.parse().expect("every key is a number")
}
