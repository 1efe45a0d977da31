//! The rows of transactional handlers: one where the message is done, and none where it is not.

use super::history::History;
use super::{Counts, Rule};
use crate::torture::event::Record;

impl History {
    pub(super) fn judge_rows(&mut self, counts: &mut Counts) {
        if !self.handler.is_transactional() {
            return;
        }
        counts.rows += self.rows.len() as u64;
        let done = match self.record {
            Some(Record::Done { token }) => Some(token),
            _ => None,
        };
        let tokens: Vec<_> = self.rows.iter().map(|(token, _)| *token).collect();
        let text = match &tokens[..] {
            [] if done.is_none() => return,
            [] => "its result is recorded, and its row is not there".to_owned(),
            [token] if done == Some(*token) => {
                if self.answer.is_none_or(|answer| self.rows[0] == answer) {
                    return;
                }
                "its row is of another result than callers got".to_owned()
            }
            _ => format!(
                "its rows are of the tokens {tokens:?}, and its record is {:?}",
                self.record
            ),
        };
        let rule = if tokens.is_empty() {
            Rule::Lost
        } else {
            Rule::Doubled
        };
        self.fault(rule, text);
    }
}
