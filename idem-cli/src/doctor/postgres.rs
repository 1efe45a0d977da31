//! The findings of a database of PostgreSQL.

use std::time::Duration;

use idem_postgres::Postgres;
use idem_postgres::health::{Health, LedgerHealth, Table};
use indicatif::{BinaryBytes, HumanDuration};
use jiff::{SignedDuration, Timestamp};

use super::{Checkup, Kind, promises, shared};
use crate::args::Place;
use crate::target::LedgerUrl;

/// What keeps dead rows for longer than this is too old: a table of ten thousand updates a second has
/// six million of them by then.
const OLD: Duration = Duration::from_secs(10 * 60);
const MANY_TRANSACTIONS: u64 = 1_000_000;
/// With fewer dead rows or updates, their share says nothing.
const FEW: u64 = 10_000;
/// A smaller table is not worth a finding.
const SMALL: u64 = 64 << 20;
/// How often the space that its rows need a table may take.
const BLOATED: u64 = 4;
/// How far two clocks may be apart.
const APART: SignedDuration = SignedDuration::from_secs(60);
const A_SECOND: Duration = Duration::from_secs(1);
const OVERDUE: u64 = 1000;

/// Examines a database.
pub(super) async fn examine(
    url: &LedgerUrl,
    settings: Postgres,
    place: &Place,
    checkup: &mut Checkup,
) {
    let asked = Timestamp::now();
    match settings.health().await {
        Err(error) => shared::unanswered(
            url,
            &error,
            checkup,
            (
                "start the server, or give the address, the user and the database that services use",
                "check the URL, the schema and the role's privileges",
            ),
        ),
        Ok(health) => {
            server(&health, asked, checkup);
            promises::tell(&health, checkup);
            upkeep(&health, checkup);
            if let Some(ledger) = usable(&health, &place.schema, checkup) {
                shared::look(url, place, &ledger.living, checkup).await;
            }
        }
    }
}

/// Looks at the server itself.
fn server(health: &Health, asked: Timestamp, checkup: &mut Checkup) {
    let Health {
        version,
        database,
        role,
        connections: (used, most),
        ..
    } = health;
    checkup.well(format!(
        "PostgreSQL {version}, database `{database}`, as `{role}`"
    ));
    if used.saturating_mul(10) > most.saturating_mul(9) {
        checkup.wrong(
            Kind::FewConnections,
            format!("{used} of {most} connections are in use"),
            "raise `max_connections`, use smaller pools, or put PgBouncer between",
        );
    } else {
        checkup.well(format!("{used} of {most} connections are in use"));
    }
    let apart = health.time.duration_since(asked).abs();
    if apart > APART {
        checkup.wrong(
            Kind::ClockApart,
            format!("the server's clock and this machine's are {} apart", human(apart.unsigned_abs())),
            "let both follow a time server: the ledger goes by the server's clock, and logs by their machines'",
        );
    } else {
        checkup.well("the server's clock agrees with this machine's");
    }
}

/// Looks at what keeps tables small and updates cheap.
fn upkeep(health: &Health, checkup: &mut Checkup) {
    if health.autovacuum {
        checkup.well("autovacuum runs");
    } else {
        checkup.wrong(
            Kind::NoAutovacuum,
            "autovacuum is off: dead rows are never removed, and every call gets slower",
            "set `autovacuum` and `track_counts` to on",
        );
    }
    match &health.horizon {
        Some(horizon)
            if horizon.age.is_some_and(|age| age > OLD)
                || horizon.transactions > MANY_TRANSACTIONS =>
        {
            let since = horizon
                .age
                .map_or_else(String::new, |age| format!(", begun {} ago", human(age)));
            checkup.wrong(
                Kind::OldTransaction,
                format!(
                    "{} holds back {} transactions{since}: no row that died since can be removed",
                    horizon.holder, horizon.transactions
                ),
                "end it (`pg_terminate_backend`, `pg_drop_replication_slot`, `ROLLBACK PREPARED`), and set \
                 `idle_in_transaction_session_timeout`",
            );
        }
        _ => checkup.well("no old transaction keeps dead rows"),
    }
    let before = checkup.findings.len();
    for table in &health.tables {
        rows(table, checkup);
    }
    if checkup.findings.len() == before && !health.tables.is_empty() {
        let bytes = health.tables.iter().map(|table| table.bytes).sum();
        checkup.well(format!(
            "its tables take {}, and few of their rows are dead",
            BinaryBytes(bytes)
        ));
    }
    let record = health.tables.iter().find(|table| table.name == "record");
    if let Some(&Table {
        updates: (all, hot),
        ..
    }) = record
        && all >= FEW
    {
        let share = hot.saturating_mul(100) / all;
        if share < 50 {
            checkup.wrong(
                Kind::ColdUpdates,
                format!("{share} % of the updates of `record` are heap-only: completions write the indexes too"),
                "look for an old transaction or for indexes that were added to the table, and whether its fill factor \
                 is 45",
            );
        } else {
            checkup.well(format!(
                "{share} % of the updates of `record` are heap-only"
            ));
        }
    }
}

fn rows(table: &Table, checkup: &mut Checkup) {
    let Table {
        name,
        rows,
        dead,
        heap_bytes,
        ..
    } = table;
    if *dead > FEW && dead > rows {
        let vacuumed = table.vacuumed.map_or_else(
            || "it was never vacuumed".to_owned(),
            |ago| format!("it was vacuumed {} ago", human(ago)),
        );
        checkup.wrong(
            Kind::DeadRows,
            format!("`{name}` has {dead} dead rows beside {rows}, and {vacuumed}"),
            "end what keeps them (see above), then `VACUUM` the table",
        );
    }
    if let Some(expected) = table.expected_heap_bytes
        && *heap_bytes > SMALL
        && *heap_bytes > expected.saturating_mul(BLOATED)
    {
        checkup.wrong(
            Kind::Bloated,
            format!(
                "`{name}` takes {}, and its rows need {}",
                BinaryBytes(*heap_bytes),
                BinaryBytes(expected)
            ),
            "it does not grow further once dead rows are removed; to shrink it, use pg_repack, or `VACUUM FULL` while no \
             service runs",
        );
    }
}

/// Looks at idem's tables. Returns what is in them if they can be used.
fn usable<'h>(health: &'h Health, name: &str, checkup: &mut Checkup) -> Option<&'h LedgerHealth> {
    let Health {
        schema_version: found,
        known_version: known,
        ..
    } = health;
    if !health.lacks.is_empty() {
        checkup.wrong(
            Kind::MissingGrants,
            format!(
                "the role `{}` lacks {}",
                health.role,
                health.lacks.join("; ")
            ),
            "grant it (idem-postgres's README has the statements), or ask as the role that services use",
        );
    } else if *found == 0 {
        checkup.wrong(
            Kind::NotALedger,
            format!("there is no ledger in the schema `{name}`"),
            "give the database and the schema (`--schema`) that services use; a service, or `idem migrate`, makes the \
             tables",
        );
    } else if found < known {
        checkup.wrong(
            Kind::OldSchema,
            format!("the schema `{name}` has version {found}, and this `idem` needs {known}"),
            "use the `idem` of the services' version, or update the services, which bring the schema along",
        );
    } else if found > known {
        checkup.wrong(
            Kind::NewerSchema,
            format!(
                "the schema `{name}` has version {found}, and this `idem` knows {known} at most"
            ),
            "use the `idem` of the services' version",
        );
    } else {
        checkup.well(format!(
            "the schema `{name}` has version {found}, and the role has its privileges"
        ));
    }
    if let Some(ledger) = &health.ledger {
        shared::used(&ledger.living, checkup);
        if ledger.ahead > A_SECOND {
            checkup.wrong(
                Kind::ClockSetBack,
                format!(
                    "the ledger's time is {} ahead of the server's clock, which was set back",
                    human(ledger.ahead)
                ),
                "set the server's clock right: pauses and times to live are as long as they should be, but times are shown \
                 ahead",
            );
        }
        if ledger.overdue > OVERDUE && !ledger.living.is_empty() {
            checkup.wrong(
                Kind::SweepBehind,
                format!(
                    "more than {OVERDUE} rows should have been removed or looked at an hour ago"
                ),
                "look at the services' logs for errors of the sweep, and at the server's load",
            );
        }
        if ledger.unfinished_migration {
            shared::unfinished_migration(checkup);
        }
    }
    let opens = |ledger: &&LedgerHealth| !ledger.unfinished_migration;
    let usable = health.lacks.is_empty() && !health.is_standby;
    health.ledger.as_ref().filter(opens).filter(|_| usable)
}

fn human(duration: Duration) -> String {
    HumanDuration(duration).to_string()
}
