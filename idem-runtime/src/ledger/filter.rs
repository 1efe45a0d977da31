//! The choice of letters to list.

use crate::protocol::{DeadLetter, DeadLetterId, LetterState};

/// A choice of letters: by default the open ones, newest first, 100 a page.
///
/// ```
/// use idem_runtime::{Filter, LetterState};
/// let failed_orders = Filter::default().handler("orders.place").limit(20);
/// let history_of_one = Filter::default().key("A-1001").any_state();
/// let thrown_away = Filter::default().state(LetterState::Discarded);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Filter {
    /// Only letters of this handler.
    pub handler: Option<String>,
    /// Names that the handler had before.
    pub(crate) earlier: Vec<String>,
    /// Only letters of this key, written as letters show it.
    pub key: Option<String>,
    /// Only letters in this state; letters in every state where it is `None`.
    pub state: Option<LetterState>,
    /// Only letters older than this one.
    pub after: Option<DeadLetterId>,
    /// The most letters in the answer.
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            handler: None,
            earlier: Vec::new(),
            key: None,
            state: Some(LetterState::Open),
            after: None,
            limit: 100,
        }
    }
}

impl Filter {
    /// Lists only this handler's letters, by its name in the ledger.
    #[must_use]
    pub fn handler(mut self, name: impl Into<String>) -> Self {
        self.handler = Some(name.into());
        self
    }

    /// Lists only this key's letters. The key is written as letters show it.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Lists letters in this state instead of the open ones.
    #[must_use]
    pub fn state(mut self, state: LetterState) -> Self {
        self.state = Some(state);
        self
    }

    /// Lists letters in every state.
    #[must_use]
    pub fn any_state(mut self) -> Self {
        self.state = None;
        self
    }

    /// Lists the next page: letters older than this one, the last of the page before.
    #[must_use]
    pub fn after(mut self, id: DeadLetterId) -> Self {
        self.after = Some(id);
        self
    }

    /// Lists at most so many letters.
    #[must_use]
    pub fn limit(mut self, letters: usize) -> Self {
        self.limit = letters;
        self
    }

    /// Returns the names of the handlers whose letters are chosen; `None` chooses those of every
    /// handler. For ledgers.
    pub fn handlers(&self) -> Option<impl Iterator<Item = &str>> {
        let handler = self.handler.as_deref()?;
        Some(std::iter::once(handler).chain(self.earlier.iter().map(String::as_str)))
    }

    /// Returns whether a letter is among the chosen ones, apart from [`limit`](Self::limit). For
    /// ledgers.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let is_of =
            |handler: &String| *handler == letter.handler || self.earlier.contains(&letter.handler);
        self.handler.as_ref().is_none_or(is_of)
            && self.key.as_ref().is_none_or(|key| *key == letter.key)
            && self.state.is_none_or(|state| state == letter.state)
            && self.after.is_none_or(|after| letter.id < after)
    }

    /// Lists letters of these handlers too.
    pub(crate) fn or_of(mut self, earlier: Vec<String>) -> Self {
        self.earlier = earlier;
        self
    }
}
