//! The writes of a batch: one call of a script.

use idem_runtime::ledger::shared::{
    LetterWrite, Runner, StoreError, StoreErrorKind, Write, Written,
};
use idem_runtime::protocol::LetterState;
use redis::Cmd;

use super::RedisStore;
use super::notes::give_note;
use crate::row::{encode, row_id, version};
use crate::script::Script;
use crate::time::micros;

impl RedisStore {
    pub(super) async fn write_rows(
        &self,
        runner: &Runner,
        writes: &[Write],
    ) -> Result<Written, StoreError> {
        // The shared ledger reserves others within seconds.
        if writes
            .iter()
            .any(|write| self.server.is_of_before(write.version))
        {
            let message = "its numbers are of before a loss, and others are not reserved yet";
            return Err(StoreError::new(StoreErrorKind::Away, message));
        }
        let mut batch = Vec::with_capacity(writes.len());
        for write in writes {
            if write.owner.as_ref().is_some_and(|owner| owner != runner) {
                let message = format!("the runner `{runner}` cannot claim for another one");
                return Err(StoreError::new(StoreErrorKind::Refused, message));
            }
            let letter = write.letter.as_ref().map(encoded).transpose()?;
            batch.push((write, encode(write), letter));
        }
        let answer = self
            .change(Script::Write, |command| {
                command.arg(&**runner).arg(batch.len());
                for (write, row, letter) in &batch {
                    give(command, write, row, letter.as_deref());
                }
            })
            .await?;
        let now = answer.now;
        let taken: Vec<usize> = answer.value()?;
        let version = |number: usize| Some(writes.get(number.checked_sub(1)?)?.version);
        let versions = taken.into_iter().filter_map(version).collect();
        Ok(Written { versions, now })
    }
}

fn encoded(write: &LetterWrite) -> Result<Vec<u8>, StoreError> {
    let refused =
        |error: &dyn std::fmt::Display| StoreError::new(StoreErrorKind::Refused, error.to_string());
    write.letter.encode().map_err(|error| refused(&error))
}

fn give(command: &mut Cmd, write: &Write, row: &[u8], letter: Option<&[u8]>) {
    command
        .arg(&row_id(&write.id)[..])
        .arg(write.expected.map(version).unwrap_or_default())
        .arg(row)
        .arg(
            write
                .due
                .map(|due| micros(due).to_string())
                .unwrap_or_default(),
        )
        .arg(u8::from(write.live))
        .arg(u8::from(write.owner.is_some()))
        .arg(
            write
                .waiting
                .map(|waiting| micros(waiting).to_string())
                .unwrap_or_default(),
        );
    let id = write
        .letter
        .as_ref()
        .map(|write| write.letter.id.to_string());
    command.arg(id.unwrap_or_default()).arg(write.notes.len());
    if let (Some(LetterWrite { letter, is_new }), Some(encoded)) = (&write.letter, letter) {
        let closed = letter.closed_at.map(|closed| micros(closed).to_string());
        command
            .arg(u8::from(*is_new))
            .arg(encoded)
            .arg(u8::from(letter.state == LetterState::Open))
            .arg(closed.unwrap_or_default());
    }
    for note in &write.notes {
        give_note(command, note);
    }
}
