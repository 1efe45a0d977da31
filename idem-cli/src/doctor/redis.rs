//! The findings of a Redis or Valkey.

use idem_redis::Redis;
use idem_redis::health::Health;
use idem_runtime::ledger::shared::StoreErrorKind;
use indicatif::BinaryBytes;

use super::{Checkup, Kind, letters};
use crate::args::Place;
use crate::problem::Problem;
use crate::target::{LedgerUrl, Location};

const LOOK: &str = "look at the server's log, and try again";

/// Examines a server.
pub(super) async fn examine(url: LedgerUrl, settings: &Redis, place: &Place) -> Checkup {
    let mut checkup = Checkup::of(format!("`{url}`"));
    match settings.health().await {
        Err(error) => match (error.kind, url.problem(&error)) {
            (StoreErrorKind::Away | StoreErrorKind::Lost, Problem::Told(_, text)) => checkup
                .closed(
                    Kind::Unreachable,
                    text,
                    "start the server, or give the address and the user that services use",
                ),
            (_, Problem::Told(_, text)) => checkup.wrong(
                Kind::Refused,
                text,
                "check the URL, the name and the user's rights",
            ),
            _ => {}
        },
        Ok(health) => {
            promises(&health, &mut checkup);
            memory(&health, &mut checkup);
            if is_usable(&health, place, &mut checkup)
                && let Err(problem) = look(url, place, &mut checkup).await
            {
                checkup.failed(problem, LOOK, (Kind::Unreadable, LOOK));
            }
        }
    }
    checkup
}

/// Says what is promised, and finds what loses it.
fn promises(health: &Health, checkup: &mut Checkup) {
    checkup.promised(health.promises());
    if health.evicts() == Some(true) {
        checkup.wrong(
            Kind::Evicts,
            "the server may evict the ledger's keys, and nothing tells of it",
            "set `maxmemory-policy noeviction`",
        );
    }
    if health.appends == Some(false) {
        checkup.wrong(
            Kind::NotDurable,
            "nothing lasts a restart of the server",
            "set `appendonly yes`",
        );
    }
}

fn memory(health: &Health, checkup: &mut Checkup) {
    let used = health.used_memory;
    let Some(most) = health.max_memory else {
        checkup.well(format!("{} of memory are used", BinaryBytes(used)));
        return;
    };
    let share = format!(
        "{} of {} of memory are used",
        BinaryBytes(used),
        BinaryBytes(most)
    );
    if used.saturating_mul(10) > most.saturating_mul(8) {
        checkup.wrong(
            Kind::NearlyFull,
            share,
            "raise `maxmemory`, or keep records for a shorter time: a full server takes no claim",
        );
    } else {
        checkup.well(share);
    }
}

/// Returns whether the ledger can be opened.
fn is_usable(health: &Health, place: &Place, checkup: &mut Checkup) -> bool {
    if let Some(lost) = &health.lost {
        checkup.wrong(
            Kind::Lost,
            format!(
                "the ledger lost what it had acknowledged ({lost}), and is refused to services"
            ),
            "bring its data back, or agree to go on without it: `idem_redis::Redis::accept_loss`",
        );
        return false;
    }
    if !health.has_ledger {
        checkup.wrong(
            Kind::NotALedger,
            format!("no ledger on the server has the name `{}`", place.schema),
            "give the name that services use with `--schema`",
        );
        return false;
    }
    if health.is_replica {
        checkup.wrong(
            Kind::Standby,
            "the server is a replica, which takes no write",
            "give the address of the primary",
        );
    }
    !health.is_replica
}

/// Looks at what the ledger itself says.
async fn look(url: LedgerUrl, place: &Place, checkup: &mut Checkup) -> Result<(), Problem> {
    let target = Location::Database(url).target(place).await?;
    let looked = letters::look(&target, checkup).await;
    let closed = target.close().await;
    looked.and(closed)
}
