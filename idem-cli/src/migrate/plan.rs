//! What there is to do, and doing it.

use jiff::Timestamp;

use super::copy::Copier;
use super::mark::Mark;
use super::source::{Source, Stopped};
use super::tally::{Skip, Tally};
use super::target::Target;
use crate::problem::Problem;
use crate::progress;

/// How to migrate.
pub(super) struct How {
    pub(super) now: Timestamp,
    pub(super) dry_run: bool,
    pub(super) partial: bool,
}

/// What was done.
#[derive(Debug)]
pub(super) struct Done {
    /// When an earlier run had done it.
    pub(super) before: Option<Timestamp>,
    pub(super) tally: Tally,
}

/// What is left to do once the source was looked at.
pub(super) enum Plan<'a, O> {
    /// Nothing.
    End(Done),
    Copy {
        source: Source<'a, O>,
        /// How many go over.
        total: u64,
        mark: Mark,
    },
}

/// Looks at the source. `mark` is what an earlier run has left in the target.
pub(super) async fn plan<'a, O: Stopped>(
    ledger: &'a O,
    mark: Option<Mark>,
    how: &How,
) -> Result<Plan<'a, O>, Problem> {
    if let Some(mark) = &mark {
        mark.check(ledger)?;
        if let Some(done) = mark.done {
            let (before, tally) = (Some(done), Tally::default());
            return Ok(Plan::End(Done { before, tally }));
        }
    }
    let since = mark.as_ref().map_or(how.now, |mark| mark.since);
    let source = Source::new(ledger, since);
    let expected = source.look().await?;
    if how.dry_run {
        let (before, tally) = (None, expected);
        return Ok(Plan::End(Done { before, tally }));
    }
    complete(&expected, how.partial)?;
    let total = expected.total();
    let numbers = ledger.last_number() + total + 1;
    let mark = mark.unwrap_or_else(|| Mark::new(ledger, since, numbers));
    Ok(Plan::Copy {
        source,
        total,
        mark,
    })
}

pub(super) async fn carry_out<O: Stopped>(
    plan: Plan<'_, O>,
    target: &impl Target,
    how: &How,
    alone: impl AsyncFnOnce() -> Result<(), Problem>,
) -> Result<Done, Problem> {
    let (source, total, mut mark) = match plan {
        Plan::End(done) => return Ok(done),
        Plan::Copy {
            source,
            total,
            mark,
        } => (source, total, mark),
    };
    let ledger = source.ledger;
    let first = mark.begin_run(target, alone).await? + ledger.last_number();
    let bar = progress::bar(total, "copied");
    let mut copier = Copier::new(source, target, first, bar);
    copier.run().await?;
    copier.bar.finish_and_clear();
    ledger.check_unused().await?;
    mark.finish(target, how.now).await?;
    let (before, tally) = (None, copier.tally);
    Ok(Done { before, tally })
}

/// Checks that all goes over, or need not.
pub(super) fn complete(expected: &Tally, partial: bool) -> Result<(), Problem> {
    let left: Vec<_> = [Skip::LongKeys, Skip::Unreadable]
        .into_iter()
        .filter(|skip| expected.left_out(*skip) > 0)
        .map(|skip| format!("{} {}", expected.left_out(skip), skip.why()))
        .collect();
    if left.is_empty() || partial {
        return Ok(());
    }
    Err(Problem::failed(format!(
        "not all can go over, and nothing was changed: {}. Leave them out with `--partial`, or wait until they have \
         expired",
        left.join("; ")
    )))
}
