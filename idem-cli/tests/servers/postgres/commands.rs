//! Commands on a database.

use std::sync::Arc;

use idem_runtime::{Filter, LetterState};
use idem_test_support::servers::{Database, Server};
use sqlx::AssertSqlSafe;

use super::{at, service};
use crate::served::Served;
use crate::support::{At, bury, command, ended, folder, idem, order};

pub(crate) async fn letters_are_looked_at_and_changed_beside_a_service(
    _: Arc<Server>,
) -> anyhow::Result<()> {
    let database = Database::empty().await?;
    let idem = service(database.url()).await?;
    let ids = bury(&idem, ["A-1", "A-2"].map(|key| order(key, "out of stock"))).await;
    let served = Served::of(tempfile::tempdir()?, idem.clone(), ids.clone(), |router| {
        router
    })
    .await;
    let at = at(&database);
    for at in [&at, &served.at()] {
        let listed = at.json(&["dlq", "list"]).await;
        assert_eq!(listed["total"], 2, "{listed:#}");
    }
    let story = at.json(&["explain", "orders.place", "A-1"]).await;
    assert_eq!(story["now"]["state"], "dead", "{story:#}");
    let stats = at.json(&["stats"]).await;
    assert_eq!(stats["open"], 2, "{stats:#}");

    let id = ids[0].to_string();
    at.idem(&["dlq", "discard", &id, "--why", "a test order", "--yes"])
        .await
        .ended(0);
    // The service sees it at once, and who did it.
    let discarded = Filter::default().state(LetterState::Discarded);
    let letters = idem.dead_letters().list(&discarded).await?;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].id, ids[0]);
    assert!(
        format!("{:?}", letters[0].history).contains("ann"),
        "{:?}",
        letters[0].history
    );
    let listed = served.at().json(&["dlq", "list"]).await;
    assert_eq!(listed["total"], 1, "its dashboard too: {listed:#}");
    drop(served);
    idem.close().await?;
    // Without a service too.
    let id = ids[1].to_string();
    at.idem(&["dlq", "redrive", &id, "--why", "mended", "--yes"])
        .await
        .ended(0);
    let listed = at.json(&["dlq", "list"]).await;
    assert_eq!(listed["total"], 0, "{listed:#}");
    let waiting = &at.json(&["stats"]).await["backlog"];
    assert_eq!(waiting["attempts"], 1, "{waiting:#}");
    assert!(waiting["oldest_attempt"].is_string(), "{waiting:#}");
    Ok(())
}

pub(crate) async fn the_environment_has_the_url_and_no_password_is_shown(
    _: Arc<Server>,
) -> anyhow::Result<()> {
    let database = Database::empty().await?;
    service(database.url()).await?.close().await?;
    // A server that trusts its clients does not look at it.
    let url = database.url().replacen('@', ":s3cret@", 1);
    assert!(url.contains("s3cret"), "{url}");
    for words in [
        &["stats"][..],
        &["doctor"],
        &["dlq", "list", "--json"],
        &["doctor", "--json"],
    ] {
        let said = ended(command().env("IDEM_LEDGER", &url).args(words)).await;
        assert!(said.code <= 1, "{said:?}");
        assert!(!format!("{said:?}").contains("s3cret"), "{said:?}");
    }
    let elsewhere = "postgres://ann:s3cret@127.0.0.1:1/none?password=s3cret";
    for words in [
        &["stats"][..],
        &["doctor", "--json"],
        &["migrate", "--from", "/nowhere"],
    ] {
        let said = ended(command().env("IDEM_LEDGER", elsewhere).args(words)).await;
        assert!(!format!("{said:?}").contains("s3cret"), "{said:?}");
        assert!(said.code >= 2, "{said:?}");
    }
    let said = idem(&["--ledger", "ann:s3cret@db", "stats"]).await.ended(2);
    assert!(
        said.err.contains("cannot be read") && !said.err.contains("s3cret"),
        "{said:?}"
    );
    Ok(())
}

/// Sessions are shared, so nothing that one sets or prepares may be relied on.
pub(crate) async fn a_pooler_is_named_in_the_url(_: Arc<Server>) -> anyhow::Result<()> {
    let database = Database::empty().await?;
    let idem = service(database.url()).await?;
    let ids = bury(&idem, [order("A-1", "out of stock")]).await;
    let bouncer = Server::bouncer(database.server(), 8).await?;
    let url = format!("{}/{}", bouncer.address(), database.name());
    let said = At::Shared(url.clone()).idem(&["stats"]).await.ended(3);
    assert!(said.err.contains("`pgbouncer=true`"), "{said:?}");
    let at = At::Shared(format!("{url}?pgbouncer=true"));
    for _ in 0..2 {
        assert_eq!(at.json(&["stats"]).await["open"], 1);
        let said = at.idem(&["doctor"]).await;
        assert!(said.code <= 1, "{said:?}");
    }
    let id = ids[0].to_string();
    let discard = ["dlq", "discard", &id, "--why", "a test order", "--yes"];
    at.idem(&discard).await.ended(0);
    assert_eq!(at.json(&["stats"]).await["open"], 0);
    Ok(())
}

pub(crate) async fn what_does_not_fit_a_database_says_so(_: Arc<Server>) -> anyhow::Result<()> {
    let database = Database::empty().await?;
    let at = at(&database);
    let said = at.idem(&["stats"]).await.ended(1);
    assert!(said.err.contains("tables are missing"), "{said:?}");
    let tables = "SELECT count(*) FROM pg_namespace WHERE nspname = 'idem'";
    let made: i64 = sqlx::query_scalar(tables)
        .fetch_one(&mut database.connect().await?)
        .await?;
    assert_eq!(made, 0, "it makes no tables");
    let (data, _) = folder(1).await;
    let said = At::folder(data.path())
        .idem(&["stats", "--ledger", database.url()])
        .await
        .ended(2);
    assert!(said.err.contains("give one of them"), "{said:?}");
    Ok(())
}

/// The grants are those that the guide gives somebody who looks.
pub(crate) async fn a_viewer_may_look_and_is_told_which_grants_a_change_needs(
    _: Arc<Server>,
) -> anyhow::Result<()> {
    let database = Database::empty().await?;
    let idem = service(database.url()).await?;
    let ids = bury(&idem, [order("A-1", "out of stock")]).await;
    idem.close().await?;
    let mut admin = database.connect().await?;
    let runners = "SELECT count(*) FROM idem.runner";
    let before: i64 = sqlx::query_scalar(runners).fetch_one(&mut admin).await?;
    let role = format!("viewer_{:016x}", fastrand::u64(..));
    let guide = include_str!("../../../../idem-postgres/README.md");
    let grants: String = guide
        .lines()
        .filter(|line| line.starts_with("GRANT") && line.contains("shop_viewer"))
        .map(|line| {
            line.replace("shop_service, ", "")
                .replace("shop_viewer", &role)
        })
        .collect();
    let make = format!("CREATE ROLE {role} LOGIN; {grants}");
    sqlx::raw_sql(AssertSqlSafe(make))
        .execute(&mut admin)
        .await?;

    let at = At::Shared(database.url_of(&role));
    let id = ids[0].to_string();
    assert_eq!(at.json(&["dlq", "list"]).await["total"], 1);
    at.idem(&["dlq", "show", &id]).await.ended(0);
    at.idem(&["dlq", "list", "--groups"]).await.ended(0);
    let story = at.json(&["explain", "orders.place", "A-1"]).await;
    assert_eq!(story["now"]["state"], "dead", "{story:#}");
    let stats = at.json(&["stats"]).await;
    assert!(stats["ledger_bytes"].as_u64() > Some(100_000), "{stats:#}");
    for change in ["discard", "redrive"] {
        let said = at
            .idem(&["dlq", change, &id, "--why", "a test", "--yes"])
            .await
            .ended(1);
        assert!(
            said.err.contains(&role) && said.err.contains("INSERT, UPDATE, DELETE on idem.record"),
            "{said:?}"
        );
    }
    let after: i64 = sqlx::query_scalar(runners).fetch_one(&mut admin).await?;
    assert_eq!(after, before, "it is no runner");
    assert_eq!(at.json(&["dlq", "list"]).await["total"], 1);
    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    sqlx::raw_sql(AssertSqlSafe(drop))
        .execute(&mut admin)
        .await?;
    Ok(())
}
