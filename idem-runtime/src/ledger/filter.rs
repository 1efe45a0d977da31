//! Which letters to list.

use crate::protocol::{DeadLetter, DeadLetterId, LetterState};

/// Which letters to list: by default the open ones, newest first, 100 a page.
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
    /// Only this handler's, by its name in the ledger.
    #[must_use]
    pub fn handler(mut self, name: impl Into<String>) -> Self {
        self.handler = Some(name.into());
        self
    }

    /// Only this key's, written as letters show it.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Letters of this state in place of the open ones.
    #[must_use]
    pub fn state(mut self, state: LetterState) -> Self {
        self.state = Some(state);
        self
    }

    /// Letters of every state.
    #[must_use]
    pub fn any_state(mut self) -> Self {
        self.state = None;
        self
    }

    /// The next page: letters older than this one, which was the last of the page before.
    #[must_use]
    pub fn after(mut self, id: DeadLetterId) -> Self {
        self.after = Some(id);
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, letters: usize) -> Self {
        self.limit = letters;
        self
    }

    /// Whether a letter belongs to the answer; for those who write a ledger.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let is_of =
            |handler: &String| *handler == letter.handler || self.earlier.contains(&letter.handler);
        self.handler.as_ref().is_none_or(is_of)
            && self.key.as_ref().is_none_or(|key| *key == letter.key)
            && self.state.is_none_or(|state| state == letter.state)
            && self.after.is_none_or(|after| letter.id < after)
    }

    /// The same, and letters of these handlers too.
    pub(crate) fn or_of(mut self, earlier: Vec<String>) -> Self {
        self.earlier = earlier;
        self
    }
}
