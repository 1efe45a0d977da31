//! What can be wrong with a running service.

use url::Url;

use super::{Checkup, Kind, letters};
use crate::cli::args::Place;
use crate::cli::problem::{Exit, Problem};
use crate::cli::target::Remote;

/// # Errors
/// Only where it cannot even be asked: without a token, or with an address that makes no sense.
pub(super) async fn examine(url: Url, place: &Place) -> Result<Checkup, Problem> {
    let remote = Remote::new(url, place)?;
    let mut checkup = Checkup::of(format!("`{}`", remote.base()));
    match remote.health().await {
        Ok(health) if health.up => checkup.well("the service answers, and so does its ledger"),
        Ok(health) => checkup.wrong(
            Kind::Down,
            health.problem.unwrap_or_else(|| "its ledger does not answer".to_owned()),
            "look at the service's log and at its disk; start it again where the message says so",
        ),
        Err(problem) => {
            failed(problem, &mut checkup);
            return Ok(checkup);
        }
    }
    if let Err(problem) = letters::look(&remote, &mut checkup).await {
        failed(problem, &mut checkup);
    }
    Ok(checkup)
}

fn failed(problem: Problem, checkup: &mut Checkup) {
    match problem {
        Problem::Told(Exit::Unreachable, text) => {
            checkup.closed(Kind::Unreachable, text, "start the service, or give the address that it listens on");
        }
        Problem::Told(_, text) => {
            checkup.wrong(Kind::Refused, text, "check the token, the address and the service's log")
        }
        Problem::Said(_) | Problem::ReaderGone => {}
    }
}
