//! The findings of a ledger that services share, whatever its server.

use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};

use super::{Checkup, Kind, letters, postgres, redis, unfinished};
use crate::args::Place;
use crate::problem::Problem;
use crate::target::{LedgerUrl, Location, Server};

/// Examines a ledger on its server.
///
/// # Errors
/// Exit code 2 when the URL cannot be used.
pub(super) async fn examine(url: LedgerUrl, place: &Place) -> Result<Checkup, Problem> {
    let mut checkup = Checkup::of(format!("`{url}`"));
    match url.server(&place.schema)? {
        Server::Postgres(settings) => {
            postgres::examine(&url, *settings, place, &mut checkup).await;
        }
        Server::Redis(settings) => redis::examine(&url, &settings, place, &mut checkup).await,
    }
    Ok(checkup)
}

/// Adds that the server did not answer, or refused.
pub(super) fn unanswered(
    url: &LedgerUrl,
    error: &StoreError,
    checkup: &mut Checkup,
    (unreachable, refused): (&str, &str),
) {
    match (error.kind, url.problem(error)) {
        (StoreErrorKind::Away | StoreErrorKind::Lost, Problem::Told(_, text)) => {
            checkup.closed(Kind::Unreachable, text, unreachable);
        }
        (_, Problem::Told(_, text)) => checkup.wrong(Kind::Refused, text, refused),
        _ => {}
    }
}

/// Looks at what the ledger itself says. `living` are the processes that use it.
pub(super) async fn look(url: &LedgerUrl, place: &Place, living: &[String], checkup: &mut Checkup) {
    const LOOK: &str = "look at the server's log, and try again";
    if let Err(problem) = ask(url, place, living, checkup).await {
        checkup.failed(problem, LOOK, (Kind::Unreadable, LOOK));
    }
}

async fn ask(
    url: &LedgerUrl,
    place: &Place,
    living: &[String],
    checkup: &mut Checkup,
) -> Result<(), Problem> {
    let target = Location::Shared(url.clone()).target(place).await?;
    let looked = letters::look(&target, checkup).await;
    // A process that lives goes on with what is unfinished.
    let unfinished = if living.is_empty() {
        unfinished::look(&target, checkup).await
    } else {
        Ok(())
    };
    let closed = target.close().await;
    looked.and(unfinished).and(closed)
}

/// Says which processes use the ledger.
pub(super) fn used(living: &[String], checkup: &mut Checkup) {
    checkup.well(match living {
        [] => "no process uses it".to_owned(),
        [one] => format!("1 process uses it: `{one}`"),
        all => format!("{} processes use it: `{}`", all.len(), all.join("`, `")),
    });
}

pub(super) fn unfinished_migration(checkup: &mut Checkup) {
    checkup.wrong(
        Kind::UnfinishedMigration,
        "a migration into the ledger is not finished, and no service can open it",
        "run the same `idem migrate` once more, until it says that all is there",
    );
}
