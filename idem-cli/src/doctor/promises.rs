//! What a database's settings promise, a sentence each.

use idem_postgres::health::{Health, Standby};

use super::{Checkup, Kind};

/// Says what holds after a crash and after a failover, and finds the settings that break it.
pub(super) fn tell(health: &Health, checkup: &mut Checkup) {
    if health.is_standby {
        checkup.wrong(
            Kind::Standby,
            "the server is a standby, on which nothing can be written",
            "give the primary's address; services that are connected here get errors until they reach it",
        );
        return;
    }
    if !health.fsync {
        checkup.wrong(
            Kind::NotDurable,
            "`fsync` is off: a crash of the machine may lose answered results or destroy the database, and messages run again",
            "set `fsync = on` and restart the server",
        );
    }
    if !health.full_page_writes {
        checkup.wrong(
            Kind::TornPages,
            "`full_page_writes` is off: a crash of the machine may leave pages that are half old",
            "set `full_page_writes = on`, unless the file system never tears a page (ZFS)",
        );
    }
    if health.fsync && health.full_page_writes {
        checkup.promised(
            "what was answered is on the server's disk: it is there after a crash of a service, of the server and of its \
             machine",
        );
    }
    failover(health, checkup);
    let ledger = health.ledger.as_ref();
    if let Some(changed) = ledger.and_then(|ledger| ledger.timeline_changed) {
        checkup.promised(format!(
            "none of this holds across {changed:.0}, when the server was seen to have another timeline: a replica was \
             promoted, or a backup was restored, and what was answered shortly before may be missing"
        ));
    }
    checkup.promised(match health.idle_in_transaction {
        Some(after) => format!(
            "a service that hangs in a transaction of its own keeps its locks for {} s at most",
            after.as_secs_f64()
        ),
        None => "a service that hangs in a transaction of its own keeps its locks until its connection ends: \
                 `idle_in_transaction_session_timeout` is 0 for this role"
            .to_owned(),
    });
}

/// Says what a promoted standby has.
fn failover(health: &Health, checkup: &mut Checkup) {
    let names = &health.synchronous_standby_names;
    // The ledger raises `off` to `on` for its own commits.
    let waits = !names.is_empty() && health.synchronous_commit != "local";
    let is_sync = |standby: &&Standby| {
        let sync = standby.sync.as_deref();
        matches!(sync, Some("sync" | "quorum"))
    };
    let (sync, all) = (
        health.standbys.iter().filter(is_sync).count(),
        health.standbys.len(),
    );
    let is_hidden = health.standbys.iter().any(|standby| standby.sync.is_none());
    match (waits, all) {
        (true, _) if sync == 0 && !is_hidden => checkup.wrong(
            Kind::NoStandby,
            format!(
                "commits wait for a standby (`synchronous_standby_names = {names}`), and {}",
                match &health.standbys[..] {
                    [] => "none is connected".to_owned(),
                    others => format!("none of those that are connected is one: {}", names_of(others)),
                }
            ),
            "start the standby, or take it out of the setting: until then no call is answered",
        ),
        (true, _) if health.synchronous_commit == "remote_write" => checkup.promised(
            "what was answered has reached a synchronous standby's system: after a failover to it, it is there unless both \
             machines crashed at once",
        ),
        (true, _) => checkup.promised(
            "what was answered is on the disk of a synchronous standby too: after a failover to it, all of it is there",
        ),
        (false, 0) => checkup.promised(
            "no standby is connected: what is lost with this server's disk, or after a backup was made, would run again",
        ),
        (false, all) => {
            let lag = health.standbys.iter().filter_map(|standby| standby.lag).max();
            let behind = lag.map_or_else(String::new, |lag| {
                format!(", the last of them {} ms behind", lag.as_millis())
            });
            checkup.promised(format!(
                "{all} {} without being waited for{behind}: after a failover, what was answered last may be missing, and \
                 would run again",
                if all == 1 { "standby follows" } else { "standbys follow" }
            ));
        }
    }
}

fn names_of(standbys: &[Standby]) -> String {
    let names = standbys.iter().map(|standby| {
        let sync = standby.sync.as_deref().unwrap_or("unknown");
        format!("`{}` ({sync})", standby.name)
    });
    names.collect::<Vec<_>>().join(", ")
}
