//! What another ledger has kept, written where there is nothing.

use super::Group;
use crate::ledger::sled::import::{Import, Imported};
use crate::ledger::sled::job::TakenOver;
use crate::ledger::sled::layout::{CLOSED_LETTER, OPEN_LETTER, RecordKey, letter_key};
use crate::ledger::{LedgerError, unnotified_key};
use crate::protocol::{DeadLetter, DeadLetterId};

impl Group<'_, '_> {
    /// Takes over what another ledger has kept, where there is nothing, and sets numbers aside.
    pub(super) fn take_over(
        &mut self,
        items: Vec<Import>,
        numbers: u64,
    ) -> Result<TakenOver, LedgerError> {
        let meta = &mut self.state.meta;
        let first = meta.number + 1;
        // They are durable with the next group that writes something.
        meta.number = meta.number.saturating_add(numbers);
        let taken = items.into_iter().map(|item| self.import(item));
        Ok((first, taken.collect::<Result<_, _>>()?))
    }

    fn import(&mut self, item: Import) -> Result<Imported, LedgerError> {
        let Import { record, letter } = item;
        let found = match &letter {
            Some(letter) => self.letter(letter.id)?,
            None => None,
        };
        let is_same = found == letter;
        let Some((id, record)) = record else {
            if let (Some(letter), None) = (&letter, &found) {
                self.put_letter(letter)?;
                return Ok(Imported::Written);
            }
            return Ok(Imported::found(is_same));
        };
        let record_key = RecordKey::new(&id);
        let (there, location) = match self.changed.get(&record_key) {
            Some(known) => known.clone(),
            None => self.load(&record_key)?,
        };
        if let Some(there) = there {
            return Ok(Imported::found(is_same && there == record));
        }
        if found.is_some() {
            return Ok(Imported::Conflict);
        }
        self.replace(record_key, location, Some(record))?;
        if let Some(letter) = letter {
            self.note(&unnotified_key(letter.id), Some(&[]))?;
            self.put_letter(&letter)?;
        }
        Ok(Imported::Written)
    }

    /// Returns a letter, open or closed.
    fn letter(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, LedgerError> {
        match self.batch.get(&letter_key(OPEN_LETTER, id))? {
            None => self.batch.get(&letter_key(CLOSED_LETTER, id)),
            open => Ok(open),
        }
    }
}
