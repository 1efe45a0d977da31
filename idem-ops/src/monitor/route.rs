//! Which groups of letters go to which channel.

use super::channel::Channel;
use crate::alert::Group;

/// Which groups of letters a channel gets.
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

    /// Adds a part of a kind of error, such as [`Group::error`] has, whose groups match.
    #[must_use]
    pub fn error(mut self, part: impl Into<String>) -> Self {
        if let Self::Matching { errors, .. } = &mut self {
            errors.push(part.into());
        }
        self
    }

    fn matches(&self, group: &Group) -> bool {
        let Self::Matching { handlers, errors } = self else {
            return false;
        };
        let has = |part: &String| group.error.contains(part.as_str());
        (handlers.is_empty() || handlers.contains(&group.handler))
            && (errors.is_empty() || errors.iter().any(has))
    }
}

/// Returns the groups that one of these channels gets. A group that no channel takes goes to all of
/// them, so that none is lost.
pub(super) fn groups_for(channel: &Channel, all: &[&Channel], groups: &[Group]) -> Vec<Group> {
    let takes = |channel: &Channel, group: &Group| match channel.route {
        Route::All => true,
        Route::Matching { .. } => channel.route.matches(group),
        Route::Rest => !all.iter().any(|other| other.route.matches(group)),
    };
    let goes_here =
        |group: &&Group| takes(channel, group) || !all.iter().any(|other| takes(other, group));
    groups.iter().filter(goes_here).cloned().collect()
}
