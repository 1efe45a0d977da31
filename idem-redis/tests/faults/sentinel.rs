//! Sentinels say where the primary is.

use std::sync::Arc;

use anyhow::ensure;
use idem_redis::Redis;
use idem_test_support::servers::{Needs, REDIS, REDIS_SENTINEL, Server};
use idem_test_support::within;
use libtest_mimic::Trial;

use crate::lost::{agrees, is_refused_at_last};
use crate::secrets::Secrets;
use crate::shop::{Load, Shop, process, process_with};
use crate::{catches_up, falls_behind, port, says, tell, test};

pub(crate) fn all() -> Vec<Trial> {
    vec![
        test("sentinel::a_failover_under_load_is_followed", followed),
        test("sentinel::a_replica_that_lagged_is_refused", lagged),
        test("sentinel::an_unknown_name_is_said", unknown),
        test("sentinel::a_failover_over_tls_is_followed", secured),
    ]
}

/// A primary, its replica, and three sentinels that watch both.
struct Watched {
    primary: Arc<Server>,
    replica: Server,
    sentinels: [Server; 3],
    /// Where the sentinels speak with clients.
    ports: [u16; 3],
}

impl Watched {
    async fn start(primary: Arc<Server>) -> anyhow::Result<Self> {
        Self::start_with(primary, None).await
    }

    /// With secrets, all speak TLS with one another, too.
    async fn start_with(primary: Arc<Server>, secrets: Option<&Secrets>) -> anyhow::Result<Self> {
        let replica = Server::start(&REDIS, Needs::Own).await?;
        let serve = async |server: &Server| match secrets {
            Some(secrets) => secrets.serve(server, &[]).await,
            None => Ok(port(server)),
        };
        serve(&replica).await?;
        let at = format!("127.0.0.1 {}", serve(&primary).await?);
        tell::<()>(&replica, &format!("REPLICAOF {at}")).await?;
        says(&replica, "INFO replication", "master_link_status:up").await?;
        let start = || Server::start(&REDIS_SENTINEL, Needs::Own);
        let sentinels = [start().await?, start().await?, start().await?];
        let mut ports = sentinels.each_ref().map(port);
        if let Some(secrets) = secrets {
            for (port, sentinel) in ports.iter_mut().zip(&sentinels) {
                *port = secrets.watch(sentinel).await?;
            }
        }
        for sentinel in &sentinels {
            tell::<()>(sentinel, &format!("SENTINEL MONITOR shop {at} 2")).await?;
            let settings = "down-after-milliseconds 2000 failover-timeout 3000";
            tell::<()>(sentinel, &format!("SENTINEL SET shop {settings}")).await?;
        }
        for sentinel in &sentinels {
            // By name of the primary's fields: how many sentinels and replicas it knows.
            within(async {
                loop {
                    let told: Vec<String> = tell(sentinel, "SENTINEL MASTER shop").await?;
                    let told = told.join(" ");
                    if told.contains("num-other-sentinels 2") && told.contains("num-slaves 1") {
                        return anyhow::Ok(());
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            })
            .await?;
        }
        Ok(Self {
            primary,
            replica,
            sentinels,
            ports,
        })
    }

    fn address(&self, name: &str) -> String {
        let [one, two, three] = self.ports;
        format!("redis-sentinel://127.0.0.1:{one},127.0.0.1:{two},127.0.0.1:{three}#{name}")
    }

    async fn fails_over(&self) -> anyhow::Result<()> {
        self.primary.kill()?;
        says(&self.replica, "INFO replication", "role:master").await
    }
}

async fn followed(server: Arc<Server>) -> anyhow::Result<()> {
    let watched = Watched::start(server).await?;
    let shop = Arc::<Shop>::default();
    let address = watched.address("shop");
    let idems = [process(&address).await?, process(&address).await?];
    let load = Load::start(&shop, &idems);
    shop.goes_on(30).await;
    catches_up(&watched.replica, &watched.primary).await?;
    watched.sentinels[0].kill()?;
    watched.fails_over().await?;
    shop.goes_on(30).await;
    // The primary of before comes back, and is made a replica.
    watched.primary.restart().await?;
    says(&watched.primary, "INFO replication", "role:slave").await?;
    shop.goes_on(30).await;
    load.ends_right(&shop, idems).await
}

async fn lagged(server: Arc<Server>) -> anyhow::Result<()> {
    let watched = Watched::start(server).await?;
    let shop = Arc::<Shop>::default();
    let address = watched.address("shop");
    let idem = process(&address).await?;
    shop.deliver(&idem, "A-0").await;
    catches_up(&watched.replica, &watched.primary).await?;
    falls_behind(&watched.primary).await?;
    tell::<()>(&watched.primary, "CLIENT UNPAUSE").await?;
    shop.deliver(&idem, "A-1").await;
    watched.fails_over().await?;
    is_refused_at_last(&shop, &idem, "it is older than it was").await?;
    agrees(&idem, &address).await
}

/// Clients, sentinels and servers speak TLS.
async fn secured(server: Arc<Server>) -> anyhow::Result<()> {
    let secrets = Secrets::of("127.0.0.1")?;
    let watched = Watched::start_with(server, Some(&secrets)).await?;
    let address = watched.address("shop").replacen("redis", "rediss", 1);
    let refused = Redis::new(&address).health().await.err();
    let refused = refused
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    ensure!(refused.contains("Redis::root_certificates"), "{refused}");
    let shop = Arc::<Shop>::default();
    let process = || process_with(secrets.redis(&address));
    let idems = [process().await?, process().await?];
    let load = Load::start(&shop, &idems);
    shop.goes_on(30).await;
    catches_up(&watched.replica, &watched.primary).await?;
    watched.fails_over().await?;
    shop.goes_on(30).await;
    load.ends_right(&shop, idems).await
}

async fn unknown(server: Arc<Server>) -> anyhow::Result<()> {
    let watched = Watched::start(server).await?;
    let refused = Redis::new(&watched.address("shap")).health().await;
    let refused = refused.err().map(|error| format!("{error:#}"));
    ensure!(
        refused.as_ref().is_some_and(
            |refused| refused.contains("no sentinel knows") && refused.contains("`shap`")
        ),
        "{refused:?}"
    );
    Ok(())
}
