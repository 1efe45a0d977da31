//! The letters that a command acts on.

use std::collections::BTreeSet;

use idem_runtime::DeadLetterId;

use crate::args;
use crate::format::line;
use crate::problem::Problem;
use crate::target::{Target, whole_page};
use idem_ops::service::{BulkEstimate, LetterQuery, Selection};

/// The chosen letters, each once.
pub(super) enum Choice {
    Ids(Vec<DeadLetterId>),
    Open {
        handler: Option<String>,
        error: Option<String>,
    },
}

impl From<args::Selection> for Choice {
    fn from(chosen: args::Selection) -> Self {
        let args::Selection {
            mut ids,
            handler,
            group,
            all,
        } = chosen;
        if ids.is_empty() {
            debug_assert!(all || handler.is_some(), "clap asks for one of them");
            return Self::Open {
                handler,
                error: group,
            };
        }
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        Self::Ids(ids)
    }
}

impl Choice {
    /// Returns the letter, if one was chosen by its id.
    pub(super) fn single(&self) -> Option<DeadLetterId> {
        match self {
            Self::Ids(ids) => <[_; 1]>::try_from(ids.as_slice()).ok().map(|[id]| id),
            Self::Open { .. } => None,
        }
    }

    /// Returns how long an action on the letters takes at this rate, and the choice in words; `None`
    /// where there are no letters.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub(super) async fn count(
        &self,
        rate: f64,
        target: &Target,
    ) -> Result<(Option<BulkEstimate>, String), Problem> {
        let (count, at_least, of) = match self {
            Self::Ids(ids) => (ids.len() as u64, false, String::new()),
            Self::Open { handler, error } => {
                let (handler, error) = (handler.clone(), error.clone());
                let query = LetterQuery {
                    handler,
                    error,
                    limit: Some(1),
                    ..LetterQuery::default()
                };
                let of = query
                    .handler
                    .as_ref()
                    .map(|handler| format!(" of `{}`", line(handler)))
                    .unwrap_or_default();
                let with = query
                    .error
                    .as_ref()
                    .map(|error| format!(" with `{}`", line(error)))
                    .unwrap_or_default();
                let page = whole_page(target, &query).await?;
                (page.total, page.at_least, format!("{of}{with}"))
            }
        };
        let letters = if count == 1 { "letter" } else { "letters" };
        let estimate = BulkEstimate::new(count, rate).at_least(at_least);
        let at_least = if at_least { "at least " } else { "" };
        Ok((
            (count > 0).then_some(estimate),
            format!("{at_least}{count} open {letters}{of}"),
        ))
    }

    pub(super) fn into_selection(self) -> Selection {
        match self {
            Self::Ids(ids) => Selection::Ids(ids),
            Self::Open {
                handler: Some(handler),
                error: Some(error),
            } => Selection::Group { handler, error },
            Self::Open { handler, error } => Selection::Filter(LetterQuery {
                handler,
                error,
                ..LetterQuery::default()
            }),
        }
    }
}
