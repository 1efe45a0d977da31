//! What waits for disks (`WAITAOF`) counts only once they have it.

use std::sync::Arc;

use anyhow::ensure;
use idem_redis::Redis;
use idem_runtime::Idem;
use idem_test_support::servers::{Needs, Server, VALKEY, trial};
use idem_test_support::within;
use libtest_mimic::Trial;

use crate::shop::{Shop, process_with};
use crate::{tell, test};

pub(crate) fn all() -> Vec<Trial> {
    vec![
        on_valkey("disks::too_few_are_no_success", too_few),
        on_valkey("disks::a_failover_loses_nothing", failover),
        test("disks::a_server_without_waitaof_is_refused", refused),
    ]
}

fn on_valkey<F, T>(name: &'static str, test: F) -> Trial
where
    F: FnOnce(Arc<Server>) -> T + Send + 'static,
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    trial(name, &VALKEY, Needs::Own, test)
}

/// Starts a replica, and opens the ledger at an address that leads to its primary.
async fn replicated(server: &Server, address: &str) -> anyhow::Result<(Server, Idem)> {
    let replica = Server::start(&VALKEY, Needs::Own).await?;
    let port = server.address().rsplit(':').next().unwrap_or_default();
    tell::<()>(&replica, &format!("REPLICAOF 127.0.0.1 {port}")).await?;
    within(async {
        // The server does not tell when a replica has caught up.
        while tell::<u64>(server, "WAIT 1 100").await? == 0 {}
        anyhow::Ok(())
    })
    .await?;
    let idem = process_with(Redis::new(address).wait_for_disks(1)).await?;
    Ok((replica, idem))
}

async fn too_few(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let (replica, idem) = replicated(&server, server.address()).await?;
    shop.deliver(&idem, "A-1").await;
    replica.freeze()?;
    let told = within(shop.place(&idem, "A-2")).await;
    let told = told.err().map(|error| format!("{error:#}"));
    ensure!(
        told.as_ref().is_some_and(|told| told.contains("0 of 1")),
        "{told:?}"
    );
    ensure!(shop.runs("A-2") == 0, "no claim, no body");
    replica.thaw()?;
    within(shop.deliver(&idem, "A-2")).await;
    shop.judge(&idem).await?;
    Ok(idem.close().await?)
}

/// The replica has all that was acknowledged, so it is taken as the same ledger.
async fn failover(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let wire = server.wire().await?;
    let (replica, idem) = replicated(&server, wire.address()).await?;
    let orders = (0..20).map(|number| {
        let (shop, idem) = (Arc::clone(&shop), idem.clone());
        async move { shop.deliver(&idem, &format!("A-{number}")).await }
    });
    futures_util::future::join_all(orders).await;
    let another = Server::start(&VALKEY, Needs::Own).await?;
    server.kill()?;
    tell::<()>(&replica, "REPLICAOF NO ONE").await?;
    let port = replica.address().rsplit(':').next().unwrap_or_default();
    tell::<()>(&another, &format!("REPLICAOF 127.0.0.1 {port}")).await?;
    wire.lead_to(&replica)?;
    within(shop.deliver(&idem, "B-1")).await;
    shop.judge(&idem).await?;
    let lost = Redis::new(replica.address()).health().await?.lost;
    ensure!(lost.is_none(), "{lost:?}");
    Ok(idem.close().await?)
}

async fn refused(server: Arc<Server>) -> anyhow::Result<()> {
    // Redis 7.0 does not know it, and on others this user may not send it.
    let rules = "ACL SETUSER shop on >secret ~* &* +@read +@write +@scripting +@pubsub +time +info";
    tell::<()>(&server, rules).await?;
    let address = server.address().replace("redis://", "redis://shop:secret@");
    process_with(Redis::new(&address)).await?.close().await?;
    let refused = process_with(Redis::new(&address).wait_for_disks(0)).await;
    let refused = refused.err().map(|error| format!("{error:#}"));
    let says = |word: &str| refused.as_ref().is_some_and(|said| said.contains(word));
    ensure!(says("+waitaof") && says("wait_for_disks"), "{refused:?}");
    Ok(())
}
