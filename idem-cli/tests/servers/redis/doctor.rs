//! What is wrong with a Redis, and what it promises.

use std::sync::Arc;

use idem_test_support::servers::{Needs, REDIS, Server};
use idem_test_support::within;
use serde_json::Value;

use super::{at, service, tell};
use crate::moved::small;
use crate::support::{At, bury, order, place_order};
use crate::{kinds, promises};

async fn doctor(at: &At, code: i32) -> Value {
    let said = at.idem(&["doctor", "--json"]).await.ended(code);
    let people = at.idem(&["doctor"]).await.ended(code);
    assert!(
        people.err.is_empty() && people.out.contains("redis://"),
        "{people:?}"
    );
    said.json()
}

fn well(checkup: &Value, part: &str) -> bool {
    checkup["well"].to_string().contains(part)
}

pub(crate) async fn says_what_is_promised(server: Arc<Server>) -> anyhow::Result<()> {
    let at = at(&server);
    let checkup = doctor(&at, 1).await;
    assert_eq!(kinds(&checkup), ["not_a_ledger"], "{checkup:#}");

    let idem = service(server.address()).await?;
    let checkup = doctor(&at, 0).await;
    assert_eq!(checkup["healthy"], true, "{checkup:#}");
    assert!(promises(&checkup, "is on the server's disk"), "{checkup:#}");
    for part in [
        "without a replica",
        "1 process uses it",
        "its incarnation is",
        "there is no limit",
    ] {
        assert!(well(&checkup, part), "{part}: {checkup:#}");
    }

    let replica = Server::start(&REDIS, Needs::Own).await?;
    let port = server.address().rsplit(':').next().unwrap_or_default();
    tell::<()>(&replica, &format!("REPLICAOF 127.0.0.1 {port}")).await?;
    within(async {
        // It does not tell when it is there.
        while tell::<u64>(&server, "WAIT 1 100").await? == 0 {}
        anyhow::Ok(())
    })
    .await?;
    let checkup = doctor(&at, 0).await;
    assert!(well(&checkup, "with 1 replica"), "{checkup:#}");
    assert!(promises(&checkup, "a failover may lose"), "{checkup:#}");
    let checkup = doctor(&super::at(&replica), 1).await;
    assert_eq!(kinds(&checkup), ["standby"], "{checkup:#}");

    bury(&idem, [order("A-1", "out of stock")]).await;
    let checkup = doctor(&at, 1).await;
    assert_eq!(
        kinds(&checkup),
        ["open_letters", "untold_letters"],
        "{checkup:#}"
    );
    Ok(idem.close().await?)
}

pub(crate) async fn finds_what_breaks_a_promise(server: Arc<Server>) -> anyhow::Result<()> {
    let idem = service(server.address()).await?;
    idem.scope(place_order(small("A-1"))).await?;
    for setting in [
        "appendonly no",
        "maxmemory-policy allkeys-lru",
        "maxmemory 1gb",
    ] {
        tell::<()>(&server, &format!("CONFIG SET {setting}")).await?;
    }
    let checkup = doctor(&at(&server), 1).await;
    let found = kinds(&checkup);
    assert!(
        found.starts_with(&["evicts", "not_durable"]) && !found.contains(&"nearly_full"),
        "{checkup:#}"
    );
    assert!(well(&checkup, "records more"), "{checkup:#}");
    assert!(promises(&checkup, "nothing lasts a restart"), "{checkup:#}");

    // As much as is used already.
    tell::<()>(&server, "CONFIG SET maxmemory-policy noeviction").await?;
    tell::<()>(&server, "CONFIG SET maxmemory 1").await?;
    let checkup = at(&server).idem(&["doctor", "--json"]).await.json();
    assert!(kinds(&checkup).contains(&"nearly_full"), "{checkup:#}");
    tell::<()>(&server, "CONFIG SET maxmemory 0").await?;
    Ok(idem.close().await?)
}

/// As on managed servers, which forbid `CONFIG`, and on one that forbids `INFO` too. The rights are those
/// of the guide.
pub(crate) async fn says_what_it_cannot_verify(server: Arc<Server>) -> anyhow::Result<()> {
    service(server.address()).await?.close().await?;
    let guide = include_str!("../../../../docs/redis.md");
    let rights = guide.split_once("`~{idem}*").map(|(_, rest)| rest);
    let rights = rights.and_then(|rest| rest.split_once('`')).unwrap().0;
    for (more, promise, verified) in [
        ("", "cannot verify whether", false),
        ("+info", "cannot verify how much", false),
        ("+info +config|get", "is on the server's disk", true),
    ] {
        let user = format!("ACL SETUSER ann reset on >secret ~{{idem}}*{rights} {more}");
        tell::<()>(&server, user.trim_end()).await?;
        let url = server.address().replace("redis://", "redis://ann:secret@");
        let checkup = doctor(&At::Shared(url), 0).await;
        assert!(promises(&checkup, promise), "{checkup:#}");
        let asks = promises(&checkup, "does not tell all of its settings");
        assert_eq!(!asks, verified, "{checkup:#}");
    }
    Ok(())
}
