//! The server loses what it had acknowledged. Every process that knows of it refuses to go on until
//! someone agrees, and says what is lost.

use std::sync::Arc;

use anyhow::ensure;
use idem_redis::Redis;
use idem_runtime::Idem;
use idem_test_support::servers::{Needs, REDIS, Server};
use idem_test_support::within;
use libtest_mimic::Trial;

use crate::shop::{Shop, process, process_with};
use crate::{catches_up, port, says, tell, test};

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("lost::a_flushed_server_is_refused", flushed),
        test("lost::a_file_of_before_is_refused", older),
        test("lost::a_replica_that_lagged_is_refused", lagged),
        test("lost::two_primaries_that_meet_again_are_refused", met_again),
        test("lost::a_setting_agrees", agreed),
        test("lost::a_ledger_that_was_made_anew_is_refused", made_anew),
    ]
}

async fn is_refused(shop: &Arc<Shop>, idem: &Idem, why: &str) -> anyhow::Result<()> {
    let told = within(shop.place(idem, "B-1")).await;
    let told = told.err().map(|error| format!("{error:#}"));
    ensure!(
        told.as_ref().is_some_and(|told| told.contains(why)),
        "{told:?}"
    );
    ensure!(shop.runs("B-1") == 0, "nothing runs on what is not known");
    Ok(())
}

/// As [`is_refused`], while a failover is under way.
pub(crate) async fn is_refused_at_last(
    shop: &Arc<Shop>,
    idem: &Idem,
    why: &str,
) -> anyhow::Result<()> {
    within(async {
        while is_refused(shop, idem, why).await.is_err() {
            ensure!(shop.runs("B-1") == 0, "nothing runs on what is not known");
        }
        Ok(())
    })
    .await
}

/// Ends a process that is refused, after a person has agreed.
pub(crate) async fn agrees(idem: &Idem, address: &str) -> anyhow::Result<()> {
    within(async {
        // A cluster whose nodes have not agreed yet on a new primary takes no write.
        while !Redis::new(address)
            .accept_loss()
            .await
            .is_ok_and(|agreed| agreed)
        {}
    })
    .await;
    let health = Redis::new(address).health().await?;
    ensure!(health.lost.is_none(), "{health:?}");
    Ok(idem.close().await?)
}

/// Agrees, and sees that orders are placed again, with tokens above those of before.
async fn goes_on(shop: &Arc<Shop>, idem: &Idem, address: &str, token: u64) -> anyhow::Result<()> {
    ensure!(Redis::new(address).accept_loss().await?);
    ensure!(!Redis::new(address).accept_loss().await?, "once is enough");
    let later = within(shop.deliver(idem, "A-1")).await.token;
    ensure!(later > token, "{later} after {token}");
    shop.judge(idem).await?;
    Ok(idem.close().await?)
}

async fn flushed(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let idem = process(server.address()).await?;
    let token = shop.deliver(&idem, "A-1").await.token;
    tell::<()>(&server, "FLUSHALL").await?;
    is_refused(&shop, &idem, "it was emptied").await?;
    let another = process(server.address()).await;
    ensure!(another.is_err(), "those that come later are told, too");
    let lost = Redis::new(server.address()).health().await?.lost;
    ensure!(lost.as_deref() == Some("it was emptied"), "{lost:?}");
    shop.forgets("A-1");
    goes_on(&shop, &idem, server.address(), token).await
}

/// As after a crash of the machine, with `appendfsync everysec`.
async fn older(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let idem = process(server.address()).await?;
    let kept = shop.deliver(&idem, "A-0").await;
    server.kill()?;
    let files = server.copy()?;
    server.restart().await?;
    let token = shop.deliver(&idem, "A-1").await.token;
    server.kill()?;
    server.put_back(&files)?;
    server.restart().await?;
    is_refused(&shop, &idem, "it is older than it was").await?;
    shop.forgets("A-1");
    ensure!(token > kept.token);
    goes_on(&shop, &idem, server.address(), token).await
}

/// What was acknowledged after it lost its primary is not on a replica that takes over.
async fn lagged(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let (wire, stream) = (server.wire().await?, server.wire().await?);
    let replica = Server::start(&REDIS, Needs::Own).await?;
    let port = stream.address().rsplit(':').next().unwrap_or_default();
    tell::<()>(&replica, &format!("REPLICAOF 127.0.0.1 {port}")).await?;
    let idem = process(wire.address()).await?;
    shop.deliver(&idem, "A-0").await;
    says(&replica, "INFO replication", "master_link_status:up").await?;
    catches_up(&replica, &server).await?;
    tell::<()>(&server, "CLIENT UNPAUSE").await?;
    stream.cut()?;
    let token = shop.deliver(&idem, "A-1").await.token;
    server.kill()?;
    tell::<()>(&replica, "REPLICAOF NO ONE").await?;
    wire.lead_to(&replica)?;
    is_refused(&shop, &idem, "it is older than it was").await?;
    shop.forgets("A-1");
    goes_on(&shop, &idem, replica.address(), token).await
}

/// While a network is parted, two primaries take what each side of it writes. One of them is left then.
async fn met_again(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let wire = server.wire().await?;
    let replica = Server::start(&REDIS, Needs::Own).await?;
    tell::<()>(&replica, &format!("REPLICAOF 127.0.0.1 {}", port(&server))).await?;
    says(&replica, "INFO replication", "master_link_status:up").await?;
    let one = process(wire.address()).await?;
    shop.deliver(&one, "A-0").await;
    catches_up(&replica, &server).await?;
    tell::<()>(&replica, "REPLICAOF NO ONE").await?;
    tell::<()>(&server, "CLIENT UNPAUSE").await?;
    // Each side goes on, and knows nothing of the other.
    let other = process(replica.address()).await?;
    shop.deliver(&one, "A-1").await;
    for order_no in ["A-2", "A-3", "A-4"] {
        shop.deliver(&other, order_no).await;
    }
    wire.lead_to(&replica)?;
    tell::<()>(&server, &format!("REPLICAOF 127.0.0.1 {}", port(&replica))).await?;
    let why = "it is older than it was";
    is_refused_at_last(&shop, &one, why).await?;
    is_refused(&shop, &other, why).await?;
    other.close().await?;
    agrees(&one, replica.address()).await
}

async fn agreed(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let idem = process_with(Redis::new(server.address()).allow_loss()).await?;
    let token = shop.deliver(&idem, "A-1").await.token;
    tell::<()>(&server, "FLUSHALL").await?;
    shop.forgets("A-1");
    let later = within(shop.deliver(&idem, "A-1")).await.token;
    ensure!(later > token, "{later} after {token}");
    shop.judge(&idem).await?;
    Ok(idem.close().await?)
}

/// A process that comes after the loss cannot know of it, until one that does comes back.
async fn made_anew(server: Arc<Server>) -> anyhow::Result<()> {
    let shop = Arc::<Shop>::default();
    let wire = server.wire().await?;
    let idem = process(wire.address()).await?;
    let token = shop.deliver(&idem, "A-1").await.token;
    wire.cut()?;
    tell::<()>(&server, "FLUSHALL").await?;
    let another = process(server.address()).await?;
    shop.deliver(&another, "A-2").await;
    wire.mend()?;
    is_refused(&shop, &idem, "it was emptied").await?;
    is_refused(&shop, &another, "it was emptied").await?;
    another.close().await?;
    shop.forgets("A-1");
    goes_on(&shop, &idem, server.address(), token).await
}
