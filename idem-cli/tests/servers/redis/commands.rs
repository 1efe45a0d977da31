//! Commands on a ledger on Redis.

use std::sync::Arc;

use idem_runtime::{Filter, LetterState};
use idem_test_support::servers::Server;

use super::{at, service, tell};
use crate::support::{bury, command, ended, idem, order};

pub(crate) async fn letters_are_looked_at_and_changed_beside_a_service(
    server: Arc<Server>,
) -> anyhow::Result<()> {
    let (at, service) = (at(&server), service(server.address()).await?);
    let ids = bury(
        &service,
        ["A-1", "A-2", "A-3"].map(|key| order(key, "out of stock")),
    )
    .await;
    let listed = at.json(&["dlq", "list"]).await;
    assert_eq!(listed["total"], 3, "{listed:#}");
    let story = at.json(&["explain", "orders.place", "A-1"]).await;
    assert_eq!(story["now"]["state"], "dead", "{story:#}");
    let stats = at.json(&["stats"]).await;
    assert_eq!(stats["open"], 3, "{stats:#}");

    let id = ids[0].to_string();
    at.idem(&["dlq", "discard", &id, "--why", "a test order", "--yes"])
        .await
        .ended(0);
    // The service sees it at once, and who did it.
    let discarded = Filter::default().state(LetterState::Discarded);
    let letters = service.dead_letters().list(&discarded).await?;
    assert_eq!(letters[0].id, ids[0]);
    let history = format!("{:?}", letters[0].history);
    assert!(history.contains("ann"), "{history}");
    at.json(&[
        "pause",
        "orders.place",
        "--why",
        "the bank moves",
        "--force",
    ])
    .await;
    assert_eq!(service.pauses().await?.len(), 1);
    at.json(&["resume", "orders.place", "--why", "it has"])
        .await;
    assert!(service.pauses().await?.is_empty());
    service.close().await?;

    // Without a service too.
    let id = ids[1].to_string();
    at.idem(&["dlq", "redrive", &id, "--why", "mended", "--yes"])
        .await
        .ended(0);
    let waiting = &at.json(&["stats"]).await["backlog"];
    assert_eq!(waiting["attempts"], 1, "{waiting:#}");
    assert!(waiting["oldest_attempt"].is_string(), "{waiting:#}");
    let erase = [
        "erase",
        "orders.place",
        "A-3",
        "--why",
        "request 17",
        "--yes",
    ];
    at.idem(&erase).await.ended(0);
    let listed = at.json(&["dlq", "list"]).await;
    assert_eq!(listed["total"], 0, "{listed:#}");
    at.idem(&["backup", "/nowhere"]).await.ended(2);
    Ok(())
}

pub(crate) async fn no_ledger_is_made_and_no_password_is_shown(
    server: Arc<Server>,
) -> anyhow::Result<()> {
    let said = at(&server).idem(&["stats"]).await.ended(1);
    assert!(said.err.contains("no ledger"), "{said:?}");
    assert_eq!(tell::<u64>(&server, "DBSIZE").await?, 0);

    let shop = idem_redis::Redis::new(server.address()).name("shop");
    let service = idem_runtime::Idem::builder();
    service.open_with(shop.ledger()).await?.close().await?;
    tell::<()>(&server, "ACL SETUSER ann on >s3cret ~* &* +@all").await?;
    let url = server.address().replace("redis://", "redis://ann:s3cret@");
    let wrong = url.replace(":s3cret@", ":s3cret2@");
    let elsewhere = "redis://:s3cret@127.0.0.1:1".to_owned();
    for (url, code) in [(&url, 0), (&wrong, 3), (&elsewhere, 3)] {
        for words in [&["stats"][..], &["doctor"], &["doctor", "--json"]] {
            let mut command = command();
            let command = command.env("IDEM_LEDGER", url).args(["--schema", "shop"]);
            let said = ended(command.args(words)).await.ended(code);
            assert!(!format!("{said:?}").contains("s3cret"), "{said:?}");
        }
    }
    let said = idem(&["--ledger", "ann:s3cret@cache", "stats"]).await;
    let said = said.ended(2);
    assert!(
        said.err.contains("cannot be read") && !said.err.contains("s3cret"),
        "{said:?}"
    );
    Ok(())
}
