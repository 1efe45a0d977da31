//! The findings of a running service.

use url::Url;

use super::{Checkup, Kind, letters};
use crate::args::Place;
use crate::problem::Problem;
use crate::target::Location;

const START: &str = "start the service, or give the address that it listens on";
const CHECK: &str = "check the token, the address and the service's log";

/// Examines a service.
///
/// # Errors
/// Exit code 2 without a token, or with an address that cannot be used.
pub(super) async fn examine(url: Url, place: &Place) -> Result<Checkup, Problem> {
    let target = Location::Service(url).target(place).await?;
    let mut checkup = Checkup::of(format!("`{}`", target.base()));
    match target.is_up().await {
        Ok(true) => {
            checkup.well("the service answers, and so does its ledger");
            if let Err(problem) = letters::look(&target, &mut checkup).await {
                checkup.failed(problem, START, (Kind::Refused, CHECK));
            }
        }
        Ok(false) => {
            // It says why only to requests with a token.
            let what = match target.stats().await {
                Err(Problem::Told(_, text)) => format!("its ledger does not answer: {text}"),
                _ => "its ledger does not answer".to_owned(),
            };
            checkup.wrong(
                Kind::Down,
                what,
                "look at the service's log and its disk, and start it again if it stays",
            );
        }
        Err(problem) => checkup.failed(problem, START, (Kind::Refused, CHECK)),
    }
    Ok(checkup)
}
