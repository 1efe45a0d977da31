//! Notes.

use idem_runtime::ledger::shared::StoreError;
use idem_runtime::ledger::{ExpectedNote, Note, NoteChange};
use redis::Cmd;

use super::{PAGE, RedisStore};
use crate::error::unreadable;
use crate::script::Script;

/// The scripts count exactly up to here, and leave room for the numbers behind.
const HIGHEST: u64 = 1 << 52;

impl RedisStore {
    pub(super) async fn read_notes(
        &self,
        prefix: &str,
        after: Option<String>,
        most: usize,
    ) -> Result<Vec<Note>, StoreError> {
        let end = end_of(prefix.as_bytes()).map_or(b"+".to_vec(), |end| bound(b'(', &end));
        let mut notes: Vec<Note> = Vec::new();
        let mut after = after.filter(|after| after.as_str() >= prefix);
        while notes.len() < most {
            let from = match &after {
                Some(after) => bound(b'(', after.as_bytes()),
                None => bound(b'[', prefix.as_bytes()),
            };
            let page = PAGE.min(most - notes.len());
            let answer = self.ask(Script::ReadNotes, |command| {
                command.arg(&from).arg(&end).arg(page);
            });
            let read: Vec<(Vec<u8>, Vec<u8>)> = answer.await?.value()?;
            let count = read.len();
            for (key, value) in read {
                let key = String::from_utf8(key).map_err(unreadable)?;
                notes.push(Note { key, value });
            }
            after = notes.last().map(|note| note.key.clone());
            if count < page {
                break;
            }
        }
        Ok(notes)
    }

    pub(super) async fn change_notes(
        &self,
        changes: &[NoteChange],
        expected: &[ExpectedNote],
    ) -> Result<bool, StoreError> {
        let answer = self.change(Script::ChangeNotes, |command| {
            command.arg(expected.len());
            for note in expected {
                command
                    .arg(&note.key)
                    .arg(u8::from(note.value.is_some()))
                    .arg(note.value.as_deref().unwrap_or_default());
            }
            command.arg(changes.len());
            for change in changes {
                give_note(command, change);
            }
        });
        Ok(answer.await?.number()? == 1)
    }
}

/// Gives the four arguments of a change to a script.
pub(super) fn give_note(command: &mut Cmd, change: &NoteChange) {
    let kind = match change.value() {
        None => "d",
        Some(_) if change.asks_for_number() => "n",
        Some(_) => "p",
    };
    let number = change.given_number().map(|number| number.min(HIGHEST));
    command
        .arg(kind)
        .arg(change.given_key())
        .arg(change.value().unwrap_or_default())
        .arg(number.map(|number| number.to_string()).unwrap_or_default());
}

fn bound(kind: u8, key: &[u8]) -> Vec<u8> {
    [&[kind], key].concat()
}

/// Returns the key behind all that begin with a prefix; none if there is no such key.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
