//! The command on a Redis.

use std::sync::Arc;

use idem_redis::Redis;
use idem_runtime::Idem;
use idem_test_support::servers::{Needs, REDIS, Server, trial};
use libtest_mimic::Trial;

use crate::support::{At, bury, order};

pub(crate) fn all() -> Vec<Trial> {
    let name = "redis::letters_are_looked_at_and_changed_and_the_server_is_examined";
    vec![trial(name, &REDIS, Needs::Own, letters_and_doctor)]
}

async fn letters_and_doctor(server: Arc<Server>) -> anyhow::Result<()> {
    let at = At::Database(server.address().to_owned());
    let missing = at.idem(&["doctor"]).await.ended(1);
    assert!(missing.out.contains("no ledger"), "{missing:?}");
    at.idem(&["dlq", "list"]).await.ended(1);

    let ledger = Redis::connect(server.address());
    let idem = Idem::builder().open_with(ledger).await?;
    let examined = at.idem(&["doctor"]).await.ended(0);
    assert!(
        examined.out.contains("is on the server's disk"),
        "{examined:?}"
    );
    let ids = bury(&idem, [order("A-1", "out of stock")]).await;
    let listed = at.json(&["dlq", "list"]).await;
    assert_eq!(listed["total"], 1, "{listed:#}");
    let id = ids[0].to_string();
    at.idem(&["dlq", "discard", &id, "--why", "a test order", "--yes"])
        .await
        .ended(0);
    assert!(
        idem.dead_letters()
            .list(&Default::default())
            .await?
            .is_empty()
    );
    Ok(idem.close().await?)
}
