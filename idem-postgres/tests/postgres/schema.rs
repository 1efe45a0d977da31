//! The tables: how they come into being, and who may use them.

use std::time::Duration;

use futures_util::future::try_join_all;
use idem_postgres::{Postgres, schema_sql};
use idem_runtime::ledger::shared::{Runner, Store, StoreErrorKind};
use sqlx::{AssertSqlSafe, Executor};

use crate::database::Database;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_make_the_tables_at_once() {
    let database = Database::empty().await.unwrap();
    let opening = (0..10).map(|_| {
        let database = database.clone();
        tokio::spawn(async move { database.store().await.map(drop) })
    });
    for opened in try_join_all(opening).await.unwrap() {
        opened.unwrap();
    }
    let versions: i64 = sqlx::query_scalar("SELECT count(*) FROM idem.schema_version")
        .fetch_one(&mut database.connect().await.unwrap())
        .await
        .unwrap();
    assert_eq!(versions, 1);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let database = Database::empty().await.unwrap();
    database.store().await.unwrap();
    let newer = "INSERT INTO idem.schema_version (version) VALUES (99)";
    database
        .connect()
        .await
        .unwrap()
        .execute(newer)
        .await
        .unwrap();
    let refused = database.store().await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Refused);
    assert!(refused.message.contains("update the program"), "{refused}");
}

#[tokio::test]
async fn the_tables_can_be_made_by_hand_in_a_schema_of_another_name() {
    let database = Database::empty().await.unwrap();
    let settings = || {
        Postgres::new(database.url())
            .schema("orders_idem")
            .migrate(false)
    };
    let missing = settings().store().await.unwrap_err();
    assert!(missing.message.contains("schema_sql"), "{missing}");
    let script = schema_sql("orders_idem").unwrap();
    let mut connection = database.connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(&mut connection)
        .await
        .unwrap();
    let store = settings().store().await.unwrap();
    assert_eq!(store.reserve(5).await.unwrap(), 1);
    assert_eq!(store.reserve(5).await.unwrap(), 6);
}

#[test]
fn a_name_that_would_have_to_be_quoted_is_refused() {
    for name in [
        "",
        "Idem",
        "my schema",
        "x;drop",
        "pg_idem",
        "1idem",
        &"x".repeat(51),
    ] {
        assert!(schema_sql(name).is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_table_of_another_program_is_left_alone() {
    let database = Database::empty().await.unwrap();
    let mut connection = database.connect().await.unwrap();
    let theirs = "CREATE SCHEMA idem; CREATE TABLE idem.record (song text)";
    sqlx::raw_sql(theirs)
        .execute(&mut connection)
        .await
        .unwrap();
    let refused = database.store().await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Refused);
    assert!(refused.message.contains("choose another name"), "{refused}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'idem'";
    let tables: i64 = sqlx::query_scalar(tables)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_role_without_rights_is_told_which_it_needs() {
    let database = Database::empty().await.unwrap();
    let mut admin = database.connect().await.unwrap();
    let role = format!("stranger_{:08x}", fastrand::u32(..));
    let made = format!("CREATE ROLE {role} LOGIN");
    sqlx::raw_sql(AssertSqlSafe(made))
        .execute(&mut admin)
        .await
        .unwrap();
    let refused = async || {
        let opened = Postgres::new(&database.url_of(&role)).store().await;
        let refused = opened.unwrap_err();
        assert_eq!(refused.kind, StoreErrorKind::Refused);
        refused.message
    };
    let to_make = refused().await;
    assert!(to_make.contains("schema_sql"), "{to_make}");
    database.store().await.unwrap();
    let to_use = refused().await;
    assert!(to_use.contains("grant the role"), "{to_use}");
    let dropped = format!("DROP ROLE {role}");
    sqlx::raw_sql(AssertSqlSafe(dropped))
        .execute(&mut admin)
        .await
        .unwrap();
}

/// The grants are those that the guide gives.
#[tokio::test]
async fn a_service_needs_no_more_than_its_grants_and_a_viewer_may_only_look() {
    let guide = include_str!("../../README.md");
    let grants = guide.split("```sql").find(|block| block.contains("GRANT"));
    let grants = grants.unwrap().split("```").next().unwrap();
    let database = Database::empty().await.unwrap();
    database.store().await.unwrap();
    let mut admin = database.connect().await.unwrap();
    let suffix = format!("{:08x}", fastrand::u32(..));
    let (service, viewer) = (format!("shop_{suffix}"), format!("viewer_{suffix}"));
    let script = grants
        .replace("shop_service", &service)
        .replace("shop_viewer", &viewer);
    let roles = format!("CREATE ROLE {service} LOGIN; CREATE ROLE {viewer} LOGIN; {script}");
    sqlx::raw_sql(AssertSqlSafe(roles))
        .execute(&mut admin)
        .await
        .unwrap();

    let store = Postgres::new(&database.url_of(&service))
        .store()
        .await
        .unwrap();
    let runner = Runner::from("service");
    store
        .beat(&runner, Duration::from_secs(30), 0)
        .await
        .unwrap();
    store.write(&runner, Vec::new()).await.unwrap();
    assert_eq!(store.remove_due(10).await.unwrap(), 0);
    assert!(
        store
            .notes("jobs/".into(), None, 10)
            .await
            .unwrap()
            .is_empty()
    );

    let store = Postgres::new(&database.url_of(&viewer))
        .store()
        .await
        .unwrap();
    assert_eq!(store.open_letters().await.unwrap(), 0);
    let denied = store
        .beat(&runner, Duration::from_secs(30), 0)
        .await
        .unwrap_err();
    assert_eq!(denied.kind, StoreErrorKind::Refused);
    assert!(denied.message.contains("permission denied"), "{denied}");
    let cleared = format!("DROP OWNED BY {service}, {viewer}; DROP ROLE {service}, {viewer}");
    sqlx::raw_sql(AssertSqlSafe(cleared))
        .execute(&mut admin)
        .await
        .unwrap();
}

#[tokio::test]
async fn another_timeline_is_seen_by_the_first_process_that_beats() {
    let database = Database::empty().await.unwrap();
    let runner = Runner::from("service");
    let beat = async || {
        let store = database.store().await.unwrap();
        store
            .beat(&runner, Duration::from_secs(30), 0)
            .await
            .unwrap();
    };
    let mut admin = database.connect().await.unwrap();
    beat().await;
    let seen = "SELECT timeline, changed_at IS NOT NULL FROM idem.server";
    let first: (String, bool) = sqlx::query_as(seen).fetch_one(&mut admin).await.unwrap();
    assert!(!first.1, "{first:?}");
    let older = "UPDATE idem.server SET timeline = '00000000'";
    admin.execute(older).await.unwrap();
    beat().await;
    let again: (String, bool) = sqlx::query_as(seen).fetch_one(&mut admin).await.unwrap();
    assert_eq!(again, (first.0, true));
}
