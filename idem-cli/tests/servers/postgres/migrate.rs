//! A folder that moves into a database, and a database that moves.

use std::sync::Arc;
use std::time::Duration;

use idem_postgres::Postgres;
use idem_runtime::notes::NoteChange;
use idem_runtime::{Filter, Idem};
use idem_test_support::servers::{Database, Server};
use idem_test_support::within;
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use super::{at, service};
use crate::moved::{claim, fill, goes_on, kill, kinds, migrate, migration, small};
use crate::support::{PlaceOrder, Said, bury, folder, order, place_order};

async fn migrate_folder(data: &tempfile::TempDir, database: &Database, more: &[&str]) -> Said {
    migrate(&data.path().display().to_string(), database.url(), more).await
}

pub(crate) async fn a_folder_goes_over(_: Arc<Server>) -> anyhow::Result<()> {
    let (data, ids) = folder(3).await;
    let idem = Idem::open(data.path())?;
    assert_eq!(idem.scope(place_order(small("S-1"))).await?, 200);
    idem.notes()
        .write(vec![
            NoteChange::put("jobs/~", "1"),
            NoteChange::put("jobs/~", "2"),
        ])
        .await?;
    let jobs = idem.notes().list("jobs/", None, 9).await?;
    idem.close().await?;
    let database = Database::empty().await?;

    let dry = migrate_folder(&data, &database, &["--dry-run", "--json"])
        .await
        .well()
        .json();
    assert_eq!(dry["copied"]["open_letters"], 3, "{dry:#}");
    let people = migrate_folder(&data, &database, &["--dry-run"])
        .await
        .well();
    assert!(
        people.out.contains("open letters") && people.out.contains("nothing was changed"),
        "{people:?}"
    );
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'idem'";
    let made: i64 = sqlx::query_scalar(schemas)
        .fetch_one(&mut database.connect().await?)
        .await?;
    assert_eq!(made, 0, "a dry run makes no tables");

    let done = migrate_folder(&data, &database, &["--json"])
        .await
        .well()
        .json();
    assert_eq!(done["copied"], dry["copied"]);
    assert_eq!(done["copied"]["results"], 1, "{done:#}");
    let again = migrate_folder(&data, &database, &[]).await.well();
    assert!(again.out.contains("nothing was left to do"), "{again:?}");

    let idem = service(database.url()).await?;
    let mut open: Vec<_> = idem.dead_letters().list(&Filter::default()).await?;
    open.sort_by_key(|letter| letter.id);
    assert_eq!(open.iter().map(|letter| letter.id).collect::<Vec<_>>(), ids);
    let reused = PlaceOrder {
        qty: 3,
        ..small("S-1")
    };
    assert!(
        idem.scope(place_order(reused)).await.is_err(),
        "its fingerprint went over"
    );
    assert_eq!(idem.scope(place_order(small("S-1"))).await?, 200);
    idem.notes()
        .write(vec![NoteChange::put("jobs/~", "3")])
        .await?;
    let all = idem.notes().list("jobs/", None, 9).await?;
    assert_eq!(all[..2], jobs[..]);
    assert_eq!(all[2].value, b"3");
    idem.close().await?;
    // The service that uses it now keeps the folder from being migrated again in another state.
    Idem::open(data.path())?.close().await?;
    let since = migrate_folder(&data, &database, &[]).await.ended(1);
    assert!(since.err.contains("source was used since"), "{since:?}");
    Ok(())
}

pub(crate) async fn one_that_is_killed_goes_on(_: Arc<Server>) -> anyhow::Result<()> {
    const RESULTS: i64 = 3000;
    let data = tempfile::tempdir()?;
    let idem = Idem::open(data.path())?;
    let calls = (0..RESULTS).map(|n| idem.scope(place_order(small(format!("S-{n}")))));
    for call in futures_util::future::join_all(calls).await {
        call?;
    }
    bury(&idem, [order("A-1", "out of stock")]).await;
    idem.close().await?;
    let database = Database::empty().await?;
    kill(&data.path().display().to_string(), database.url(), &[]).await?;
    migrate_folder(&data, &database, &[]).await.well();
    let rows = "SELECT count(*) FROM idem.record WHERE handler = 'orders.place'";
    let rows: i64 = sqlx::query_scalar(rows)
        .fetch_one(&mut database.connect().await?)
        .await?;
    assert_eq!(rows, RESULTS + 1);
    let idem = service(database.url()).await?;
    assert_eq!(idem.scope(place_order(small("S-7"))).await?, 200);
    assert_eq!(idem.dead_letters().list(&Filter::default()).await?.len(), 1);
    idem.close().await?;
    Ok(())
}

pub(crate) async fn a_database_goes_over(_: Arc<Server>) -> anyhow::Result<()> {
    const RESULTS: usize = 1000;
    let database = Database::empty().await?;
    let from = database.url();
    fill(service(from).await?, RESULTS).await?;
    claim(Postgres::new(from).store().await?, "R-1").await?;
    let data = tempfile::tempdir()?;
    let to = data.path().join("shop").display().to_string();
    let dry = migrate(from, &to, &["--dry-run", "--json"]).await;
    let dry = dry.well().json();
    kill(from, &to, &[]).await?;
    let done = migrate(from, &to, &["--json"]).await.well().json();
    // On a fast machine a run may have ended before it was killed.
    let is_last = done["done_before"].is_null();
    for (kind, count) in kinds(RESULTS) {
        let of = |done: &serde_json::Value| done[kind].as_u64().unwrap_or(0);
        assert_eq!(dry["copied"][kind], count, "{dry:#}");
        let all = of(&done["copied"]) + of(&done["there"]);
        assert!(!is_last || all == count as u64, "{done:#}");
    }
    assert_eq!(dry["skipped"]["leases"], 1, "{dry:#}");
    assert_eq!(dry["crashed"], 1, "{dry:#}");
    let again = migrate(from, &to, &[]).await.well();
    assert!(again.out.contains("nothing was left to do"), "{again:?}");
    // To another schema of the same database, and from there on.
    let name = &["--schema", "other"];
    migrate(from, from, name).await.well();
    let other = Postgres::new(from).schema("other").ledger();
    goes_on(Idem::builder().open_with(other).await?, RESULTS).await?;
    let idem = Idem::open(&to)?;
    assert_eq!(idem.scope(place_order(small("R-1"))).await?, 200);
    goes_on(idem, RESULTS).await?;
    // A service that uses the source now keeps it from being migrated again in another state.
    let idem = service(from).await?;
    let living = migrate(from, &to, &[]).await.ended(1);
    assert!(living.err.contains("is used by 1 process"), "{living:?}");
    idem.close().await?;
    let since = migrate(from, &to, &[]).await.ended(1);
    assert!(since.err.contains("source was used since"), "{since:?}");
    Ok(())
}

/// Keeps rows from being written.
pub(crate) const HOLD: &str = "LOCK TABLE idem.record IN EXCLUSIVE MODE";

/// Waits until a migration stands at its first row, which the connection [holds](HOLD).
pub(crate) async fn stands(holding: &mut PgConnection) -> anyhow::Result<()> {
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted
        AND relation = 'idem.record'::regclass)";
    within(async {
        while !sqlx::query_scalar(waits).fetch_one(&mut *holding).await? {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    })
    .await
}

pub(crate) async fn no_service_opens_before_all_is_there(_: Arc<Server>) -> anyhow::Result<()> {
    let (data, _) = folder(1).await;
    let idem = Idem::open(data.path())?;
    assert_eq!(idem.scope(place_order(small("S-1"))).await?, 200);
    idem.close().await?;
    let database = Database::empty().await?;
    Postgres::new(database.url()).store().await?;
    // It stands at its first row until it is killed.
    let mut admin = database.connect().await?;
    let mut holding = admin.begin().await?;
    sqlx::raw_sql(HOLD).execute(&mut *holding).await?;
    let from = data.path().display().to_string();
    let mut killed = migration(&from, database.url(), &[]).spawn()?;
    stands(&mut holding).await?;
    killed.start_kill()?;
    within(killed.wait()).await?;
    holding.rollback().await?;

    let refused = format!("{:#}", service(database.url()).await.unwrap_err());
    assert!(refused.contains("run the same `idem migrate`"), "{refused}");
    let at = at(&database);
    let stats = at.idem(&["stats"]).await.ended(1);
    assert!(stats.err.contains("is not finished"), "{stats:?}");
    let doctor = at.idem(&["doctor", "--json"]).await.ended(1);
    assert!(doctor.out.contains("unfinished_migration"), "{doctor:?}");

    migrate_folder(&data, &database, &[]).await.well();
    let idem = service(database.url()).await?;
    assert_eq!(idem.scope(place_order(small("S-1"))).await?, 200);
    idem.close().await?;
    let doctor = at.idem(&["doctor", "--json"]).await;
    assert!(!doctor.out.contains("unfinished_migration"), "{doctor:?}");
    Ok(())
}

pub(crate) async fn what_is_in_use_is_refused(_: Arc<Server>) -> anyhow::Result<()> {
    let (data, _) = folder(1).await;
    let database = Database::empty().await?;
    let source = Idem::open(data.path())?;
    let held = migrate_folder(&data, &database, &[]).await.ended(3);
    assert!(held.err.contains("is held by process"), "{held:?}");
    source.close().await?;
    let idem = service(database.url()).await?;
    let living = migrate_folder(&data, &database, &[]).await.ended(1);
    assert!(living.err.contains("is used by 1 process"), "{living:?}");
    assert_eq!(idem.scope(place_order(small("S-1"))).await?, 200);
    idem.close().await?;
    let used = migrate_folder(&data, &database, &[]).await.ended(1);
    assert!(
        used.err.contains("a service has used the target"),
        "{used:?}"
    );
    // A dry run says that the migration would not begin.
    let long = tempfile::tempdir()?;
    let idem = Idem::open(long.path())?;
    assert_eq!(idem.scope(place_order(small("x".repeat(250)))).await?, 200);
    idem.close().await?;
    let unused = Database::empty().await?;
    let dry = migrate_folder(&long, &unused, &["--dry-run"])
        .await
        .ended(1);
    assert!(dry.err.contains("--partial"), "{dry:?}");
    let partial = migrate_folder(&long, &unused, &["--dry-run", "--partial"]).await;
    partial.well();
    std::fs::remove_file(data.path().join("witness"))?;
    let doubtful = migrate_folder(&data, &database, &[]).await.ended(1);
    assert!(doubtful.err.contains("`witness`"), "{doubtful:?}");
    Ok(())
}
