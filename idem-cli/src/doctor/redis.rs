//! The findings of a Redis or Valkey.

use idem_redis::Redis;
use idem_redis::health::{Health, LedgerHealth};
use indicatif::BinaryBytes;

use super::{Checkup, Kind, shared};
use crate::args::Place;
use crate::target::LedgerUrl;

/// Examines a server.
pub(super) async fn examine(
    url: &LedgerUrl,
    settings: &Redis,
    place: &Place,
    checkup: &mut Checkup,
) {
    match settings.health().await {
        Err(error) => shared::unanswered(
            url,
            &error,
            checkup,
            (
                "start the server, or give the address and the user that services use",
                "check the URL, the ledger's name (`--schema`) and the user's rights",
            ),
        ),
        Ok(health) => {
            server(&health, checkup);
            promises(&health, checkup);
            memory(&health, checkup);
            if let Some(ledger) = usable(&health, place, checkup) {
                shared::look(url, place, &ledger.living, checkup).await;
            }
        }
    }
}

/// Looks at the server itself.
fn server(health: &Health, checkup: &mut Checkup) {
    let Health {
        version, replicas, ..
    } = health;
    if health.is_replica {
        checkup.wrong(
            Kind::Standby,
            format!("{version} is a replica, which takes no write"),
            "give the address of the primary",
        );
    } else {
        checkup.well(match replicas {
            0 => format!("{version}, without a replica"),
            1 => format!("{version}, with 1 replica"),
            replicas => format!("{version}, with {replicas} replicas"),
        });
    }
    if health.append_fails {
        checkup.wrong(
            Kind::Full,
            "the server cannot write its append-only file, and takes no write",
            "look at the server's log and at its disk: free some space",
        );
    }
}

/// Says what is promised, and finds what loses it.
fn promises(health: &Health, checkup: &mut Checkup) {
    checkup.promised(health.promises());
    if !health.is_verified() {
        checkup.promised(
            "the server does not tell all of its settings: what cannot be verified has to be looked up where it is \
             run, or grant `+info +config|get`",
        );
    }
    if health.evicts() == Some(true) {
        checkup.wrong(
            Kind::Evicts,
            "the server may evict the ledger's keys when its memory is full, and nothing tells of it",
            "set `maxmemory-policy noeviction`",
        );
    }
    if health.appends == Some(false) {
        checkup.wrong(
            Kind::NotDurable,
            "nothing lasts a restart of the server: results and dead letters are gone then",
            "set `appendonly yes`, best with `appendfsync always`",
        );
    }
}

/// Looks at what is left of the memory, and for how many records.
fn memory(health: &Health, checkup: &mut Checkup) {
    let ledger = health.ledger.as_ref();
    let each = ledger.and_then(|ledger| ledger.record_bytes);
    if let (Some(LedgerHealth { records, .. }), Some(each)) = (ledger, each) {
        checkup.well(format!(
            "it has about {records} records of about {}",
            BinaryBytes(each)
        ));
    }
    let used = health.used_memory;
    let Some(most) = health.max_memory else {
        if used > 0 {
            let used = BinaryBytes(used);
            checkup.well(format!("{used} of memory are used, and there is no limit"));
        }
        return;
    };
    let mut share = format!(
        "{} of {} of memory are used",
        BinaryBytes(used),
        BinaryBytes(most)
    );
    if let Some(each) = each {
        let room = most.saturating_sub(used) / each.max(1);
        share += &format!(": there is room for about {room} records more");
    }
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

/// Returns what the ledger holds, if it can be opened.
fn usable<'h>(
    health: &'h Health,
    place: &Place,
    checkup: &mut Checkup,
) -> Option<&'h LedgerHealth> {
    if let Some(lost) = &health.lost {
        checkup.wrong(
            Kind::Lost,
            format!("the ledger lost what it had acknowledged ({lost}), and services are refused"),
            "bring the server's data back (the old primary, the file), which services notice by themselves; or go on \
             without what is gone, which runs again when it is delivered again: `idem accept-loss`",
        );
        return None;
    }
    let Some(ledger) = &health.ledger else {
        checkup.wrong(
            Kind::NotALedger,
            format!("no ledger on the server has the name `{}`", place.schema),
            "give the server and the name (`--schema`) that services use; a service, or `idem migrate`, makes it",
        );
        return None;
    };
    checkup.well(format!(
        "the ledger `{}` is whole, as far as its processes know; its incarnation is {}",
        place.schema, ledger.id
    ));
    shared::used(&ledger.living, checkup);
    if ledger.unfinished_migration {
        shared::unfinished_migration(checkup);
    }
    (!ledger.unfinished_migration && !health.is_replica).then_some(ledger)
}
