//! Migrations to a ledger on Redis, and away from it.

use std::sync::Arc;

use idem_redis::Redis;
use idem_runtime::Idem;
use idem_test_support::servers::{Database, Kind, Needs, POSTGRES, REDIS, Server, trial_beside};
use idem_test_support::within;
use libtest_mimic::Trial;
use sqlx::Connection;

use super::{service, tell};
use crate::moved::{claim, fill, goes_on, kill, kinds, migrate, migration, small};
use crate::postgres::migrate::{HOLD, stands};
use crate::support::{folder, place_order};

pub(super) fn to_postgres() -> [Trial; 2] {
    static OTHERS: [&Kind; 1] = [&POSTGRES];
    let name = |test| format!("redis::migrate::{test}");
    let (over, used) = (
        name("a_redis_goes_over"),
        name("one_that_is_used_meanwhile_is_found"),
    );
    [
        trial_beside(over, &REDIS, Needs::Own, &OTHERS, a_redis_goes_over),
        trial_beside(used, &REDIS, Needs::Own, &OTHERS, used_meanwhile),
    ]
}

pub(crate) async fn a_folder_goes_over(server: Arc<Server>) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    fill(Idem::open(data.path())?, 3).await?;
    let (from, to) = (data.path().display().to_string(), server.address());
    let dry = migrate(&from, to, &["--dry-run", "--json"]).await;
    let dry = dry.well().json();
    assert_eq!(dry["copied"]["results"], 3, "{dry:#}");
    assert_eq!(tell::<u64>(&server, "DBSIZE").await?, 0, "it makes nothing");
    let done = migrate(&from, to, &["--json"]).await.well().json();
    assert_eq!(done["copied"], dry["copied"]);
    for (kind, count) in [
        ("dead", 1),
        ("discarded", 1),
        ("issued_keys", 1),
        ("outbox", 1),
    ] {
        assert_eq!(done["copied"][kind], count, "{done:#}");
    }
    let again = migrate(&from, to, &[]).await.well();
    assert!(again.out.contains("nothing was left to do"), "{again:?}");
    goes_on(service(to).await?, 3).await
}

async fn a_redis_goes_over(server: Arc<Server>) -> anyhow::Result<()> {
    fill(service(server.address()).await?, 3).await?;
    claim(Redis::new(server.address()).store().await?, "R-1").await?;
    let database = Database::empty().await?;
    let (from, to) = (server.address(), database.url());
    let before: u64 = tell(&server, "HGET {idem}m changes").await?;
    let dry = migrate(from, to, &["--dry-run", "--json"]).await;
    let dry = dry.well().json();
    let done = migrate(from, to, &["--json"]).await.well().json();
    assert_eq!(done["copied"], dry["copied"]);
    for (kind, count) in kinds(3) {
        assert_eq!(done["copied"][kind], count, "{done:#}");
    }
    assert_eq!(done["skipped"]["leases"], 1, "{done:#}");
    assert_eq!(done["crashed"], 1, "{done:#}");
    let after: u64 = tell(&server, "HGET {idem}m changes").await?;
    assert_eq!(before, after, "the source stays as it is");
    let again = migrate(from, to, &[]).await.well();
    assert!(again.out.contains("nothing was left to do"), "{again:?}");
    let ledger = idem_postgres::Postgres::connect(to);
    let idem = Idem::builder().open_with(ledger).await?;
    assert_eq!(idem.scope(place_order(small("R-1"))).await?, 200);
    goes_on(idem, 3).await?;
    // One that uses the source now keeps it from being migrated again in another state.
    service(from).await?.close().await?;
    let since = migrate(from, to, &[]).await.ended(1);
    assert!(since.err.contains("source was used since"), "{since:?}");
    Ok(())
}

async fn used_meanwhile(server: Arc<Server>) -> anyhow::Result<()> {
    let from = server.address();
    fill(service(from).await?, 1).await?;
    let database = Database::empty().await?;
    idem_postgres::Postgres::new(database.url()).store().await?;
    let mut admin = database.connect().await?;
    let mut holding = admin.begin().await?;
    sqlx::raw_sql(HOLD).execute(&mut *holding).await?;
    let migration = migration(from, database.url(), &[]).spawn()?;
    stands(&mut holding).await?;
    service(from).await?.close().await?;
    holding.rollback().await?;
    let ended = within(migration.wait_with_output()).await?;
    let said = String::from_utf8(ended.stderr)?;
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("while it was copied"), "{said}");
    let ledger = idem_postgres::Postgres::connect(database.url());
    let refused = Idem::builder().open_with(ledger).await.unwrap_err();
    let refused = format!("{refused:#}");
    assert!(refused.contains("is not finished"), "{refused}");
    Ok(())
}

/// From one name to another on the same server, killed at any moment.
pub(crate) async fn one_that_is_killed_goes_on(server: Arc<Server>) -> anyhow::Result<()> {
    const RESULTS: usize = 3000;
    let address = server.address();
    fill(service(address).await?, RESULTS).await?;
    let names = &["--schema", "the [shop]*"];
    kill(address, address, names).await?;
    migrate(address, address, names).await.well();
    // And on: its name is full of signs that patterns have.
    let again = ["--from-schema", names[1], "--schema", "third", "--json"];
    let done = migrate(address, address, &again).await.well().json();
    assert_eq!(done["copied"]["results"], RESULTS, "{done:#}");
    // And into a folder.
    let data = tempfile::tempdir()?;
    let to = data.path().join("shop").display().to_string();
    let third = &["--from-schema", "third"];
    kill(address, &to, third).await?;
    migrate(address, &to, third).await.well();
    goes_on(Idem::open(&to)?, RESULTS).await?;
    let ledger = Redis::new(address).name("third").ledger();
    goes_on(Idem::builder().open_with(ledger).await?, RESULTS).await
}

pub(crate) async fn what_is_in_use_is_refused(server: Arc<Server>) -> anyhow::Result<()> {
    let (data, _) = folder(1).await;
    let folder = data.path().display().to_string();
    let address = server.address();
    let itself = migrate(address, address, &[]).await.ended(2);
    assert!(
        itself.err.contains("the target is the source"),
        "{itself:?}"
    );
    // A folder in the source's own would be taken for one of its files.
    for to in ["", "/in", "/sled/in/it"] {
        let inside = migrate(&folder, &format!("{folder}{to}"), &[]).await;
        let inside = inside.ended(2);
        assert!(inside.err.contains("or in it"), "{inside:?}");
    }
    let named = migrate(address, &folder, &["--schema", "other"]).await;
    let named = named.ended(2);
    assert!(named.err.contains("a folder has no name"), "{named:?}");
    let none = migrate(address, address, &["--schema", "other"]).await;
    let none = none.ended(1);
    assert!(none.err.contains("--from-schema"), "{none:?}");
    let idem = service(address).await?;
    for (from, to) in [(&*folder, address), (address, "redis://127.0.0.1:1")] {
        let living = migrate(from, to, &[]).await.ended(1);
        assert!(living.err.contains("is used by 1 process"), "{living:?}");
    }
    idem.scope(place_order(small("S-1"))).await?;
    idem.close().await?;
    let used = migrate(&folder, address, &[]).await.ended(1);
    assert!(
        used.err.contains("a service has used the target"),
        "{used:?}"
    );
    let away = migrate(address, "redis://127.0.0.1:1", &[]).await;
    away.ended(3);
    Ok(())
}
