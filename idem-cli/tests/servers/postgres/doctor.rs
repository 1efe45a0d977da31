//! What is wrong with a database, and what it promises.

use std::sync::Arc;

use idem_test_support::servers::{Database, Server, Standby};
use idem_test_support::within;
use serde_json::Value;

use super::{at, service};
use crate::support::{At, bury, idem, order};
use crate::{kinds, promises};

async fn doctor(at: &At, code: i32) -> Value {
    let said = at.idem(&["doctor", "--json"]).await.ended(code);
    let people = at.idem(&["doctor"]).await.ended(code);
    assert!(
        people.err.is_empty() && people.out.contains("postgres://"),
        "{people:?}"
    );
    said.json()
}

pub(crate) async fn says_what_is_promised(server: Arc<Server>) -> anyhow::Result<()> {
    let at = At::Shared(server.address().to_owned());
    let idem = service(server.address()).await?;
    let checkup = doctor(&at, 0).await;
    assert_eq!(checkup["healthy"], true, "{checkup:#}");
    assert!(
        promises(&checkup, "after a crash of a service"),
        "{checkup:#}"
    );
    assert!(promises(&checkup, "no standby is connected"), "{checkup:#}");
    assert!(
        checkup["well"].to_string().contains("1 process uses it"),
        "{checkup:#}"
    );

    let replica = server.replica(server.address(), Standby::Async).await?;
    let checkup = doctor(&at, 0).await;
    assert!(
        promises(&checkup, "1 standby follows without being waited for"),
        "{checkup:#}"
    );
    drop(replica);

    bury(&idem, [order("A-1", "out of stock")]).await;
    let checkup = doctor(&at, 1).await;
    assert_eq!(
        kinds(&checkup),
        ["open_letters", "untold_letters"],
        "{checkup:#}"
    );
    idem.close().await?;
    Ok(())
}

pub(crate) async fn finds_what_breaks_a_promise(server: Arc<Server>) -> anyhow::Result<()> {
    let at = At::Shared(server.address().to_owned());
    service(server.address()).await?.close().await?;
    for setting in ["fsync", "full_page_writes", "autovacuum"] {
        server.set(setting, "off").await?;
    }
    let checkup = doctor(&at, 1).await;
    let found = ["not_durable", "torn_pages", "no_autovacuum"];
    assert_eq!(kinds(&checkup), found, "{checkup:#}");
    assert!(
        !promises(&checkup, "after a crash of a service"),
        "{checkup:#}"
    );
    Ok(())
}

pub(crate) async fn finds_a_standby(server: Arc<Server>) -> anyhow::Result<()> {
    service(server.address()).await?.close().await?;
    let replica = server.replica(server.address(), Standby::Sync).await?;
    // Commits wait until it has caught up, which the doctor finds.
    let at = At::Shared(server.address().to_owned());
    let caught_up = async {
        loop {
            let seen = at.idem(&["doctor", "--json"]).await.json();
            if promises(&seen, "of a synchronous standby too") {
                break;
            }
        }
    };
    within(caught_up).await;
    doctor(&at, 0).await;
    let checkup = doctor(&At::Shared(replica.address().to_owned()), 1).await;
    assert!(kinds(&checkup).contains(&"standby"), "{checkup:#}");
    Ok(())
}

pub(crate) async fn finds_missing_tables_and_privileges(_: Arc<Server>) -> anyhow::Result<()> {
    let database = Database::empty().await?;
    let checkup = doctor(&at(&database), 1).await;
    assert!(kinds(&checkup).contains(&"not_a_ledger"), "{checkup:#}");
    service(database.url()).await?.close().await?;
    let role = format!("viewer_{:016x}", fastrand::u64(..));
    let make = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA idem TO {role}; \
         GRANT SELECT ON ALL TABLES IN SCHEMA idem TO {role}"
    );
    let mut admin = database.connect().await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(make))
        .execute(&mut admin)
        .await?;
    let checkup = doctor(&At::Shared(database.url_of(&role)), 1).await;
    let lacks = "INSERT, UPDATE, DELETE on idem.record";
    assert!(kinds(&checkup).contains(&"missing_grants"), "{checkup:#}");
    assert!(!kinds(&checkup).contains(&"unreadable"), "{checkup:#}");
    assert!(
        checkup["findings"].to_string().contains(lacks),
        "{checkup:#}"
    );
    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(drop))
        .execute(&mut admin)
        .await?;

    let said = idem(&[
        "--ledger",
        "postgres://127.0.0.1:1/none",
        "doctor",
        "--json",
    ])
    .await;
    assert_eq!(kinds(&said.ended(3).json()), ["unreachable"]);
    Ok(())
}

pub(crate) async fn tells_when_the_timeline_changed(_: Arc<Server>) -> anyhow::Result<()> {
    let database = Database::empty().await?;
    service(database.url()).await?.close().await?;
    let at = at(&database);
    let changed = "another timeline";
    let checkup = at.idem(&["doctor", "--json"]).await.json();
    assert!(!promises(&checkup, changed), "{checkup:#}");
    // As a promoted replica, or a backup that was restored, has it.
    sqlx::raw_sql("UPDATE idem.server SET timeline = '00000000'")
        .execute(&mut database.connect().await?)
        .await?;
    service(database.url()).await?.close().await?;
    let checkup = at.idem(&["doctor", "--json"]).await.json();
    assert!(promises(&checkup, changed), "{checkup:#}");
    Ok(())
}
