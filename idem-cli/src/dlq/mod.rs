//! `idem dlq`: the dead letters.

mod bulk;
mod change;
mod choose;
mod export;
mod list;
mod redrive;
mod rule;
mod show;

use super::args::{Dlq, Filter, State};
use super::out::Out;
use super::problem::Problem;
use super::target::Target;
use idem_ops::service::{LONGEST_PAGE, LetterQuery, StateFilter};

pub(crate) async fn run(what: Dlq, target: &Target, out: Out) -> Result<(), Problem> {
    match what {
        Dlq::List(list) if list.groups => list::groups(list.filter.handler, target, out).await,
        Dlq::List(list) => list::letters(list, target, out).await,
        Dlq::Show { id } => show::run(id, target, out).await,
        Dlq::Redrive(redrive) => redrive::run(redrive, target, out).await,
        Dlq::Bulk => bulk::list(target, out).await,
        Dlq::Cancel(cancel) => {
            bulk::cancel(cancel.id, cancel.reason.why.as_deref(), target, out).await
        }
        Dlq::Rule(rule) => rule::run(rule, target, out).await,
        Dlq::Edit(edit) => change::edit(edit, target, out).await,
        Dlq::Discard(discard) => change::discard(discard, target, out).await,
        Dlq::Restore(restore) => change::restore(restore, target, out).await,
        Dlq::Export(export) => export::run(export.filter, target, out).await,
    }
}

/// Returns the query for these letters' first page, as long as a page can be.
fn query(filter: Filter) -> LetterQuery {
    let state = match filter.state {
        State::Open => StateFilter::Open,
        State::Redriven => StateFilter::Redriven,
        State::Discarded => StateFilter::Discarded,
        State::Any => StateFilter::Any,
    };
    let Filter { handler, key, .. } = filter;
    LetterQuery {
        handler,
        key,
        state,
        limit: Some(LONGEST_PAGE),
        ..LetterQuery::default()
    }
}
