//! A cluster of a test's own: three primaries, and a replica of the first.

use std::sync::Arc;

use anyhow::Context;
use idem_test_support::servers::{Needs, REDIS_NODE, Server, bus_port};
use idem_test_support::within;
use redis::Cmd;

use crate::secrets::Secrets;
use crate::{ask, port, says, tell};

/// Slots of the two primaries that have none of the ledger's, so that they vote.
const OTHERS: [u16; 2] = [1, 2];

pub(crate) struct Nodes {
    /// The primary of all slots but two.
    pub(crate) first: Arc<Server>,
    pub(crate) others: [Server; 2],
    pub(crate) replica: Server,
    /// Where they speak with clients, the replica last.
    ports: [u16; 4],
}

impl Nodes {
    pub(crate) async fn join(first: Arc<Server>) -> anyhow::Result<Self> {
        Self::join_with(first, None).await
    }

    /// With secrets, all speak TLS with one another, too.
    pub(crate) async fn join_with(
        first: Arc<Server>,
        secrets: Option<&Secrets>,
    ) -> anyhow::Result<Self> {
        let start = || Server::start(&REDIS_NODE, Needs::Own);
        let mut nodes = Self {
            first,
            others: [start().await?, start().await?],
            replica: start().await?,
            ports: [0; 4],
        };
        let mut ports = nodes.all().map(port);
        if let Some(secrets) = secrets {
            for (port, node) in ports.iter_mut().zip(nodes.all()) {
                *port = secrets.serve(node, &["tls-cluster yes"]).await?;
            }
        }
        nodes.ports = ports;
        for (number, node) in nodes.all().into_iter().enumerate() {
            tell::<()>(node, &format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1)).await?;
        }
        let mut adding = redis::cmd("CLUSTER");
        adding.arg("ADDSLOTS");
        adding.arg(
            (0..16_384_u16)
                .filter(|slot| !OTHERS.contains(slot))
                .collect::<Vec<_>>(),
        );
        ask::<()>(&nodes.first, &adding).await?;
        for (node, slot) in nodes.others.iter().zip(OTHERS) {
            tell::<()>(node, &format!("CLUSTER ADDSLOTS {slot}")).await?;
        }
        for (node, shown) in nodes.all().into_iter().zip(ports).skip(1) {
            let meeting = format!("CLUSTER MEET 127.0.0.1 {shown} {}", bus_port(port(node)));
            tell::<()>(&nodes.first, &meeting).await?;
        }
        for node in nodes.all() {
            says(node, "CLUSTER INFO", "cluster_known_nodes:4").await?;
        }
        let first = id(&nodes.first).await?;
        within(async {
            // It hears of the first one's slots a little later.
            while tell::<()>(&nodes.replica, &format!("CLUSTER REPLICATE {first}"))
                .await
                .is_err()
            {}
        })
        .await;
        says(&nodes.replica, "INFO replication", "master_link_status:up").await?;
        for node in nodes.all() {
            says(node, "CLUSTER INFO", "cluster_state:ok").await?;
            says(node, "CLUSTER NODES", "slave").await?;
        }
        Ok(nodes)
    }

    fn all(&self) -> [&Server; 4] {
        let [one, two] = &self.others;
        [&self.first, one, two, &self.replica]
    }

    /// Its address by all nodes.
    pub(crate) fn address(&self) -> String {
        let hosts = self.ports.map(|port| format!("127.0.0.1:{port}"));
        format!("redis://{}", hosts.join(","))
    }

    /// Begins to move the ledger's slot.
    pub(crate) async fn moving<'a>(
        &self,
        from: &'a Server,
        to: &'a Server,
    ) -> anyhow::Result<Moving<'a>> {
        let slot: u16 = tell(from, &format!("CLUSTER KEYSLOT {META}")).await?;
        let (source, target) = (id(from).await?, id(to).await?);
        let set = format!("CLUSTER SETSLOT {slot}");
        tell::<()>(to, &format!("{set} IMPORTING {source}")).await?;
        tell::<()>(from, &format!("{set} MIGRATING {target}")).await?;
        Ok(Moving {
            from,
            to,
            slot,
            target,
        })
    }
}

/// What is known of the ledger.
pub(crate) const META: &str = "{idem}m";

/// The ledger's slot on its way.
pub(crate) struct Moving<'a> {
    from: &'a Server,
    to: &'a Server,
    slot: u16,
    target: String,
}

impl Moving<'_> {
    /// Moves the keys of which this is true.
    pub(crate) async fn keys(&self, which: impl Fn(&[u8]) -> bool) -> anyhow::Result<()> {
        let mut listing = redis::cmd("CLUSTER");
        listing.arg("GETKEYSINSLOT").arg(self.slot).arg(1_000_000);
        let keys: Vec<Vec<u8>> = ask(self.from, &listing).await?;
        let keys: Vec<_> = keys.into_iter().filter(|key| which(key)).collect();
        for keys in keys.chunks(100) {
            let mut migrating: Cmd = redis::cmd("MIGRATE");
            migrating.arg("127.0.0.1").arg(port(self.to)).arg("");
            migrating.arg(0).arg(10_000).arg("KEYS").arg(keys);
            ask::<()>(self.from, &migrating).await?;
        }
        Ok(())
    }

    /// Gives the slot to the node that has its keys.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        for node in [self.to, self.from] {
            let setting = format!("CLUSTER SETSLOT {} NODE {}", self.slot, self.target);
            tell::<()>(node, &setting).await.context("SETSLOT")?;
        }
        Ok(())
    }
}

async fn id(node: &Server) -> anyhow::Result<String> {
    tell(node, "CLUSTER MYID").await
}
