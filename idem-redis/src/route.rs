//! The way to the primary.
//!
//! In a cluster, each node says which one serves the ledger's slot (`MOVED`), without any right of its
//! own. Sentinels are asked before each connection, as their guide for clients wants:
//! <https://redis.io/docs/latest/develop/reference/sentinel-clients/>.

use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use parking_lot::Mutex;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, ConnectionAddr, ErrorKind, RedisError, RedisResult, ServerErrorKind, TlsCertificates,
    TlsMode,
};

use crate::error::of_connecting;

/// How often sentinels are asked for one connection.
const TRIES: usize = 3;

/// How to reach the primary.
#[derive(Debug)]
pub(crate) struct Route {
    /// The server, nodes of its cluster, or sentinels.
    hosts: Vec<Client>,
    master: Option<Master>,
    /// The node of the cluster that serves the ledger.
    node: Mutex<Option<Client>>,
}

/// A primary that sentinels know by a name.
pub(crate) struct Master {
    pub(crate) name: String,
    pub(crate) login: Option<(String, String)>,
    /// Those of its connections, if they are encrypted.
    pub(crate) certificates: Option<TlsCertificates>,
}

impl Route {
    /// Returns the way over these hosts, of which there is one at least.
    pub(crate) fn to(hosts: Vec<Client>, master: Option<Master>) -> Self {
        Self {
            hosts,
            master,
            node: Mutex::default(),
        }
    }

    /// Connects to the primary, or to a host that knows it.
    ///
    /// # Errors
    /// When none of them answers.
    pub(crate) async fn reach<C, F>(&self, connect: impl Fn(Client) -> F) -> Result<C, StoreError>
    where
        F: Future<Output = RedisResult<C>>,
    {
        if let Some(master) = &self.master {
            let primary = self.ask_for(master).await?;
            return connect(primary).await.map_err(of_connecting);
        }
        let node = self.node.lock().clone();
        if let Some(node) = node {
            let connected = connect(node).await;
            if connected.is_err() {
                // The others say where the slot is now.
                self.node.lock().take();
            }
            return connected.map_err(of_connecting);
        }
        let first = fastrand::usize(..self.hosts.len());
        let (before, after) = self.hosts.split_at(first);
        let mut failed = StoreError::new(StoreErrorKind::Away, "no host is named");
        for host in after.iter().chain(before) {
            match connect(host.clone()).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = of_connecting(error),
            }
        }
        Err(failed)
    }

    /// Leads later connections to the node that the error names. Returns whether it names one.
    pub(crate) fn follows(&self, error: &RedisError) -> bool {
        let is_moved = error.kind() == ErrorKind::Server(ServerErrorKind::Moved);
        let node = error.redirect_node().filter(|_| is_moved);
        let Some(client) = node.and_then(|(node, _)| self.beside(node)) else {
            return false;
        };
        *self.node.lock() = Some(client);
        true
    }

    /// Returns the way to another node, reached as the first host is.
    fn beside(&self, node: &str) -> Option<Client> {
        let info = self.hosts.first()?.get_connection_info();
        let (host, port) = node.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let host_or = |own: &str| {
            // A node that does not know its name is where it was asked.
            if matches!(host, "" | "?") { own } else { host }.to_owned()
        };
        let address = match info.addr() {
            ConnectionAddr::Tcp(own, _) => ConnectionAddr::Tcp(host_or(own), port),
            ConnectionAddr::TcpTls {
                host: own,
                insecure,
                tls_params,
                ..
            } => ConnectionAddr::TcpTls {
                host: host_or(own),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => return None,
        };
        Client::open(info.clone().set_addr(address)).ok()
    }

    async fn ask_for(&self, master: &Master) -> Result<Client, StoreError> {
        let mut tries = 0;
        let found = loop {
            let found = match self.sentinels(master) {
                Ok(mut sentinels) => sentinels.async_get_client().await,
                Err(error) => Err(error),
            };
            tries += 1;
            match found {
                // The client waits half a second for their answer: little for a busy machine.
                Err(error) if error.is_timeout() && tries < TRIES => {}
                found => break found,
            }
        };
        found.map_err(|error| match error.kind() {
            ErrorKind::MasterNameNotFoundBySentinel => {
                let message = format!(
                    "no sentinel knows a primary that answers by the name `{}`",
                    master.name
                );
                StoreError::new(StoreErrorKind::Away, message)
            }
            _ => of_connecting(error),
        })
    }

    fn sentinels(&self, master: &Master) -> RedisResult<SentinelClient> {
        let hosts = self.hosts.iter().map(Client::get_connection_info);
        let addresses = hosts.clone().map(|info| info.addr().clone());
        let tcp = TcpSettings::default().set_nodelay(true);
        let mut building =
            SentinelClientBuilder::new(addresses, &master.name, SentinelServerType::Master)?
                .set_client_to_redis_tcp_settings(tcp);
        for settings in hosts.map(redis::ConnectionInfo::redis_settings).take(1) {
            building = building
                .set_client_to_redis_db(settings.db())
                .set_client_to_redis_protocol(settings.protocol());
            if let Some(username) = settings.username() {
                building = building.set_client_to_redis_username(username);
            }
            if let Some(password) = settings.password() {
                building = building.set_client_to_redis_password(password);
            }
        }
        if let Some(certificates) = &master.certificates {
            building = building
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone());
        }
        if let Some((username, password)) = &master.login {
            if !username.is_empty() {
                building = building.set_client_to_sentinel_username(username);
            }
            building = building.set_client_to_sentinel_password(password);
        }
        building.build()
    }
}

impl std::fmt::Debug for Master {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The login has a password.
        f.debug_struct("Master")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
