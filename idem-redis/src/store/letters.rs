//! Letters.

use idem_runtime::ledger::Filter;
use idem_runtime::ledger::shared::StoreError;
use idem_runtime::protocol::{DeadLetter, DeadLetterId, LetterState};
use jiff::{SignedDuration, Timestamp};

use super::RedisStore;
use crate::error::unreadable;
use crate::script::Script;
use crate::time::micros;

/// How many letters are read at once. They may be large.
const LETTERS: usize = 200;

impl RedisStore {
    pub(super) async fn read_letter(
        &self,
        id: DeadLetterId,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let answer = self.ask(Script::Letter, |command| {
            command.arg(id.to_string());
        });
        let letter: Vec<u8> = answer.await?.value()?;
        (!letter.is_empty()).then(|| decode(&letter)).transpose()
    }

    /// Reads pages of the open letters, or of all, until the filter has enough.
    pub(super) async fn read_letters(
        &self,
        filter: &Filter,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let index = match filter.state {
            Some(LetterState::Open) => "lo",
            _ => "la",
        };
        let (mut behind, mut chosen) = (filter.after, Vec::new());
        while chosen.len() < filter.limit {
            let from = behind.map_or("+".to_owned(), |id| format!("({id}"));
            let answer = self.ask(Script::Letters, |command| {
                command.arg(index).arg(&from).arg(LETTERS);
            });
            let page: Vec<Vec<u8>> = answer.await?.value()?;
            let letters = page.iter().map(|letter| decode(letter));
            let letters: Vec<_> = letters.collect::<Result<_, _>>()?;
            behind = letters.last().map(|letter| letter.id);
            let left = filter.limit - chosen.len();
            let matching = letters.into_iter().filter(|letter| filter.matches(letter));
            chosen.extend(matching.take(left));
            if page.len() < LETTERS {
                break;
            }
        }
        Ok(chosen)
    }

    pub(super) async fn remove_closed_letters(
        &self,
        until: Timestamp,
        most: usize,
    ) -> Result<u64, StoreError> {
        // The index was rounded up, and none may go early.
        let below = until
            .checked_sub(SignedDuration::from_nanos(999))
            .unwrap_or(until);
        let until = micros(below);
        let arguments = |command: &mut redis::Cmd| {
            command.arg(until);
        };
        self.remove(Script::RemoveLetters, most, arguments).await
    }
}

fn decode(letter: &[u8]) -> Result<DeadLetter, StoreError> {
    DeadLetter::decode(letter).map_err(unreadable)
}
