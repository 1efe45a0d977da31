//! Which groups of letters, and which paused handlers, go to which channel.

use super::channel::Channel;

/// Which groups of letters a channel gets. Paused handlers go the same way, by why they are paused.
///
/// ```
/// use idem_ops::monitor::Route;
/// let database_people = Route::matching().error("connection refused").error("deadlock");
/// let warehouse = Route::matching().handler("stock.book");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// All groups.
    #[default]
    All,
    /// The groups that match.
    Matching {
        /// Handlers' names, of which the group has one; any if there are none.
        handlers: Vec<String>,
        /// Parts of a kind of error, of which the group's has one; any if there are none.
        errors: Vec<String>,
    },
    /// The groups that match no other channel's route.
    Rest,
}

impl Route {
    /// Returns a route that matches everything; [`handler`](Self::handler) and
    /// [`error`](Self::error) narrow it.
    pub fn matching() -> Self {
        Self::Matching {
            handlers: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Adds a handler whose groups match.
    #[must_use]
    pub fn handler(mut self, name: impl Into<String>) -> Self {
        if let Self::Matching { handlers, .. } = &mut self {
            handlers.push(name.into());
        }
        self
    }

    /// Adds a part of a kind of error, such as [`Group::error`](crate::alert::Group::error) has, whose groups match.
    #[must_use]
    pub fn error(mut self, part: impl Into<String>) -> Self {
        if let Self::Matching { errors, .. } = &mut self {
            errors.push(part.into());
        }
        self
    }

    fn matches(&self, (handler, error): (&str, &str)) -> bool {
        let Self::Matching { handlers, errors } = self else {
            return false;
        };
        let has = |part: &String| error.contains(part.as_str());
        (handlers.is_empty() || handlers.iter().any(|name| name == handler))
            && (errors.is_empty() || errors.iter().any(has))
    }
}

/// Returns what one of these channels gets, by each one's handler and error. What no channel takes
/// goes to all of them, so that none is lost.
pub(super) fn part_for<T: Clone>(
    channel: &Channel,
    all: &[&Channel],
    whole: &[T],
    of: fn(&T) -> (&str, &str),
) -> Vec<T> {
    let takes = |channel: &Channel, one: &T| match channel.route {
        Route::All => true,
        Route::Matching { .. } => channel.route.matches(of(one)),
        Route::Rest => !all.iter().any(|other| other.route.matches(of(one))),
    };
    let goes_here = |one: &&T| takes(channel, one) || !all.iter().any(|other| takes(other, one));
    whole.iter().filter(goes_here).cloned().collect()
}
