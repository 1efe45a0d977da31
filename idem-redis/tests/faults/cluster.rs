//! A ledger in a cluster: the node that serves its slot is found, and followed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use idem_redis::Redis;
use idem_runtime::ledger::shared::{Runner, Store, Write};
use idem_runtime::protocol::RecordId;
use idem_test_support::servers::{Needs, REDIS_NODE, Server, trial};
use idem_test_support::within;
use libtest_mimic::Trial;

use crate::lost::{agrees, is_refused_at_last};
use crate::nodes::{META, Nodes};
use crate::secrets::Secrets;
use crate::shop::{Load, Shop, process, process_with};
use crate::{catches_up, falls_behind, says, tell};

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("cluster::a_slot_that_moves_under_load_is_followed", moved),
        test("cluster::a_failover_under_load_is_followed", followed),
        test("cluster::a_replica_that_lagged_is_refused", lagged),
        test("cluster::hints_reach_every_node", hinted),
        trial(
            "cluster::a_failover_over_tls_is_followed",
            &REDIS_NODE,
            Needs::Own,
            secured,
        ),
    ]
}

fn test<F, T>(name: &'static str, test: F) -> Trial
where
    F: FnOnce(Nodes) -> T + Send + 'static,
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    trial(name, &REDIS_NODE, Needs::Own, |first: Arc<Server>| async {
        test(Nodes::join(first).await?).await
    })
}

/// A slot moves key by key. No script runs on a part of the keys.
async fn moved(nodes: Nodes) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let [one, two] = &nodes.others;
    // They are sent on by nodes that do not serve the slot.
    let idems = [process(one.address()).await?, process(two.address()).await?];
    let load = Load::start(&shop, &idems);
    // Those that are left behind decide which answer the scripts get.
    let without_meta: fn(&[u8]) -> bool = |key| key != META.as_bytes();
    for (from, to, first) in [(&*nodes.first, one, without_meta), (one, two, |_| true)] {
        shop.goes_on(30).await;
        let moving = nodes.moving(from, to).await?;
        moving.keys(first).await?;
        is_refused_at_last(&shop, &idems[0], "is being moved to another node").await?;
        moving.keys(|_| true).await?;
        moving.end().await?;
    }
    shop.goes_on(30).await;
    load.ends_right(&shop, idems).await?;
    let health = Redis::new(two.address()).health().await?;
    ensure!(health.has_ledger && health.lost.is_none(), "{health:?}");
    Ok(())
}

async fn followed(nodes: Nodes) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let address = nodes.address();
    let idems = [process(&address).await?, process(&address).await?];
    let load = Load::start(&shop, &idems);
    shop.goes_on(30).await;
    // The replica takes over when it has all, and the first one is its replica then.
    tell::<()>(&nodes.replica, "CLUSTER FAILOVER").await?;
    says(&nodes.replica, "INFO replication", "role:master").await?;
    shop.goes_on(30).await;
    says(&nodes.first, "INFO replication", "master_link_status:up").await?;
    catches_up(&nodes.first, &nodes.replica).await?;
    nodes.replica.kill()?;
    says(&nodes.first, "INFO replication", "role:master").await?;
    shop.goes_on(30).await;
    load.ends_right(&shop, idems).await
}

async fn lagged(nodes: Nodes) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let address = nodes.address();
    let idem = process(&address).await?;
    shop.deliver(&idem, "A-0").await;
    catches_up(&nodes.replica, &nodes.first).await?;
    falls_behind(&nodes.first).await?;
    tell::<()>(&nodes.first, "CLIENT UNPAUSE").await?;
    shop.deliver(&idem, "A-1").await;
    nodes.first.kill()?;
    says(&nodes.replica, "INFO replication", "role:master").await?;
    is_refused_at_last(&shop, &idem, "it is older than it was").await?;
    // Each node finds out by itself that the slot is served again.
    for node in [&nodes.replica, &nodes.others[0], &nodes.others[1]] {
        says(node, "CLUSTER INFO", "cluster_state:ok").await?;
    }
    agrees(&idem, &address).await
}

/// Clients and nodes speak TLS, and a process is sent on by nodes that do not serve the slot.
async fn secured(first: Arc<Server>) -> anyhow::Result<()> {
    let secrets = Secrets::of("127.0.0.1")?;
    let nodes = Nodes::join_with(first, Some(&secrets)).await?;
    let address = nodes.address().replacen("redis", "rediss", 1);
    let shop = Arc::<Shop>::default();
    let process = || process_with(secrets.redis(&address));
    let idems = [process().await?, process().await?];
    let load = Load::start(&shop, &idems);
    shop.goes_on(30).await;
    tell::<()>(&nodes.replica, "CLUSTER FAILOVER").await?;
    says(&nodes.replica, "INFO replication", "role:master").await?;
    shop.goes_on(30).await;
    load.ends_right(&shop, idems).await
}

/// A process that listens on the node that served the slot hears what is written on the next one.
async fn hinted(nodes: Nodes) -> anyhow::Result<()> {
    let [next, _] = &nodes.others;
    let one = Redis::new(&nodes.address()).store().await?;
    let other = Redis::new(nodes.first.address()).store().await?;
    let runner = Runner::from("one");
    one.beat(&runner, Duration::from_secs(30), 1).await?;
    let row = RecordId::new("hints", "A");
    one.write(&runner, vec![Write::new(row.clone(), None, 1)])
        .await?;
    other.watch(&row);
    let changing = async {
        // It does not tell when it has begun to listen.
        while tell::<(String, u64)>(&nodes.first, "PUBSUB NUMSUB {idem}w")
            .await?
            .1
            == 0
        {}
        let moving = nodes.moving(&nodes.first, next).await?;
        moving.keys(|_| true).await?;
        moving.end().await?;
        one.write(&runner, vec![Write::new(row.clone(), Some(1), 2)])
            .await?;
        anyhow::Ok(())
    };
    let (heard, changed) = within(async { tokio::join!(other.changed(), changing) }).await;
    changed?;
    ensure!(heard == [row], "{heard:?}");
    Ok(())
}
