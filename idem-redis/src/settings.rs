//! The settings of the ledger, and how it is opened.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use idem_runtime::ledger::shared::{LettersIn, SharedLedger, StoreError, StoreErrorKind};
use idem_runtime::ledger::{Context, Ledger, LedgerError};
use redis::ClientTlsConfig;
use tokio::time::timeout;

use crate::address::Address;
use crate::call::{Server, tag};
use crate::disks::Disks;
use crate::health::Health;
use crate::link::{Line, Link};
use crate::store::RedisStore;

/// The pause before an opening that waits for the server tries again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the server may take to answer what opening asks.
const ANSWER: Duration = Duration::from_secs(10);

/// A ledger on Redis or Valkey, about to be opened.
///
/// ```no_run
/// use std::time::Duration;
/// use idem_redis::Redis;
/// use idem_runtime::Idem;
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let idem = Idem::builder()
///     .open_with(Redis::connect("redis://redis.example:6379"))
///     .await?;
///
/// // With settings:
/// let redis = Redis::new("redis://redis.example:6379").lease(Duration::from_secs(20));
/// let idem = Idem::builder().open_with(redis.ledger()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Redis {
    address: Address,
    name: String,
    lease: Duration,
    creates: bool,
    allows_eviction: bool,
    allows_loss: bool,
    disks: Option<u32>,
    letters_elsewhere: bool,
}

impl Redis {
    /// Opens the ledger on the server of this URL, for
    /// [`open_with`](idem_runtime::IdemBuilder::open_with). The same as `Redis::new(url).ledger()`.
    pub fn connect(url: &str) -> impl FnOnce(Context) -> OpeningLedger + use<> {
        Self::new(url).ledger()
    }

    /// Returns the settings of a ledger on the server of this URL:
    ///
    /// | URL | where the primary is |
    /// |---|---|
    /// | `redis://USER:PASSWORD@HOST:PORT/DATABASE` | there; all but the host may be left out |
    /// | `redis://HOST:PORT,HOST:PORT` | the node of this cluster that serves the ledger's slot; any of its nodes may be named |
    /// | `redis-sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE#NAME` | where these sentinels say that the primary `NAME` is; the login is the primary's |
    ///
    /// `rediss://` and `rediss-sentinel://` are the same over TLS. A password may have to be
    /// percent-encoded.
    pub fn new(url: &str) -> Self {
        Self {
            address: Address::of(url),
            name: "idem".to_owned(),
            lease: Duration::from_secs(30),
            creates: true,
            allows_eviction: false,
            allows_loss: false,
            disks: None,
            letters_elsewhere: false,
        }
    }

    /// Sets the name of the ledger (default: `idem`): its keys begin with it, in braces. Ledgers with
    /// other names on the same server know nothing of each other.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the user and the password of the sentinels (default: none). The user may be empty.
    #[must_use]
    pub fn sentinel_login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.address.sentinel_login = Some((user.into(), password.into()));
        self
    }

    /// Sets the root certificates by which servers are verified, in PEM form (default: those of the
    /// system). The URL begins with `rediss`.
    #[must_use]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.address.certificates.root_cert = Some(pem.into());
        self
    }

    /// Sets the certificate that servers are shown, and its key, both in PEM form (default: none). The URL
    /// begins with `rediss`.
    #[must_use]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.address.certificates.client_tls = Some(ClientTlsConfig {
            client_cert: certificate.into(),
            client_key: key.into(),
        });
        self
    }

    /// Sets how long after its last heartbeat a process loses its claims (default: 30 s).
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets whether opening makes the ledger where there is none (default: yes). Else it fails then: to a
    /// program that looks at a ledger, a mistyped name would look like an empty one.
    #[must_use]
    pub fn create(mut self, creates: bool) -> Self {
        self.creates = creates;
        self
    }

    /// Opens the ledger also where `maxmemory-policy` lets the server evict keys (default: it is
    /// refused). A record that was evicted is gone, also that of a message that is being handled: it runs
    /// again when it is delivered again, and nothing tells of it.
    #[must_use]
    pub fn allow_eviction(mut self) -> Self {
        self.allows_eviction = true;
        self
    }

    /// Opens the ledger also where nothing lasts a restart of the server (`appendonly no`), and goes on
    /// by itself when what it had acknowledged is gone (default: both are refused until a person
    /// [agrees](Self::accept_loss)). It still says so. What is gone runs again, and its letters are lost.
    #[must_use]
    pub fn allow_loss(mut self) -> Self {
        self.allows_loss = true;
        self
    }

    /// Waits, before an answer counts, until the server's disk and those of `replicas` replicas have what
    /// it tells of (default: the server answers as its own settings say). What was acknowledged survives
    /// the loss of as many machines.
    ///
    /// This is [`WAITAOF`](https://valkey.io/commands/waitaof/), of Redis 7.2 and Valkey. Each batch then
    /// takes as long as the slowest of these disks. Where too few have it within four seconds, calls fail
    /// with [`Unavailable`](LedgerError::Unavailable), and may have been written.
    ///
    /// Opening is refused where the server has no such command, or does not write to its disk
    /// (`appendonly no`). While fewer replicas are connected, it waits as for a server that is away.
    #[must_use]
    pub fn wait_for_disks(mut self, replicas: u32) -> Self {
        self.disks = Some(replicas);
        self
    }

    /// Returns what opens the ledger, for [`open_with`](idem_runtime::IdemBuilder::open_with).
    pub fn ledger(self) -> impl FnOnce(Context) -> OpeningLedger + use<> {
        |context| {
            Box::pin(async move {
                let (lease, store) = (self.lease, self.store_within(context.wait).await?);
                SharedLedger::open(store, context, lease).await
            })
        }
    }

    /// Returns what opens the ledger with a second one, in which the open dead letters are too, with what
    /// people need to run them again. Letters that the server loses come back from there, and their
    /// messages stay dead. With it, a server on which nothing lasts (`appendonly no`) is not refused: the
    /// second ledger has the letters, and claims and results are as the server's settings promise.
    ///
    /// `second` opens the other ledger, as for [`open_with`](idem_runtime::IdemBuilder::open_with). It
    /// should be one that all processes share, such as PostgreSQL. An embedded one belongs to a single
    /// process, so letters come back where that process starts. Ledgers on Redis that share it need
    /// different [names](Self::name). What happens between the two, [`LettersIn`] says.
    ///
    /// ```no_run
    /// use idem_redis::Redis;
    /// use idem_runtime::Idem;
    /// use idem_runtime::ledger::SledLedger;
    ///
    /// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
    /// let redis = Redis::new("redis://redis.example:6379");
    /// let idem = Idem::builder()
    ///     .open_with(redis.letters_in(|context| async move {
    ///         let (clock, instance) = (context.clock, context.instance.to_string());
    ///         SledLedger::open("./letters".as_ref(), 16 << 20, clock, instance)
    ///     }))
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn letters_in<L, F>(
        mut self,
        second: impl FnOnce(Context) -> F,
    ) -> impl FnOnce(Context) -> OpeningLedger<LettersIn<RedisStore>>
    where
        L: Ledger,
        F: Future<Output = Result<L, LedgerError>> + Send + 'static,
    {
        self.letters_elsewhere = true;
        |context| {
            let second = second(context.clone());
            Box::pin(async move {
                let (lease, name, wait) = (self.lease, self.name.clone(), context.wait);
                let second = Arc::new(second.await?);
                let store = self.store_within(wait).await?;
                let store = LettersIn::new(store, &name, second);
                store.restore().await?;
                SharedLedger::open(store, context, lease).await
            })
        }
    }

    /// Asks the server for what the ledger's promises rest on, and what it holds. It makes no ledger, and a replica answers
    /// too.
    ///
    /// # Errors
    /// When the settings are wrong, or no server answers.
    pub async fn health(&self) -> Result<Health, StoreError> {
        in_time(Health::look(&self.link()?, &self.name)).await
    }

    /// Agrees that the ledger goes on with what it has, after it was found emptied or older than it was
    /// and was refused to every process. All of them go on, and later fencing tokens are larger than all
    /// before. Returns whether there was something to agree to.
    ///
    /// # Errors
    /// When the settings are wrong, or no server answers.
    pub async fn accept_loss(&self) -> Result<bool, StoreError> {
        in_time(Server::accept_loss(&self.link()?, &self.name)).await
    }

    /// As [`store`](Self::store), but tries again while no server answers, for `longest`.
    async fn store_within(self, longest: Duration) -> Result<RedisStore, StoreError> {
        let begun = Instant::now();
        loop {
            match in_time(self.clone().store()).await {
                Err(error) if error.kind == StoreErrorKind::Away && begun.elapsed() < longest => {
                    tracing::info!(error = format_args!("{error:#}"), "waiting for the server");
                    tokio::time::sleep(AGAIN).await;
                }
                opened => return opened,
            }
        }
    }

    /// Connects, looks at what the server's settings promise, and says it in the log.
    ///
    /// # Errors
    /// When the settings are wrong, no server answers, or what it promises is too little.
    pub async fn store(self) -> Result<RedisStore, StoreError> {
        let link = self.link()?;
        let health = Health::ask(&link, &self.name).await?;
        self.check(&health)?;
        let mut promises = health.promises();
        if let Some(replicas) = self.disks {
            self.check_disks(&link, &health, replicas).await?;
            promises +=
                &format!("; each answer waits for its disk and those of {replicas} replicas");
        }
        if health.is_verified() {
            tracing::info!("{promises}");
        } else {
            tracing::warn!("{promises}");
        }
        let server = Server::open(&link, &self.name, self.creates, self.allows_loss).await?;
        Ok(RedisStore::new(&link, server))
    }

    fn check(&self, health: &Health) -> Result<(), StoreError> {
        let refused = |message: &str| Err(StoreError::new(StoreErrorKind::Refused, message));
        if health.is_replica {
            let message = "the server is a replica: open the ledger on the primary";
            return Err(StoreError::new(StoreErrorKind::Away, message));
        }
        if health.evicts() == Some(true) && !self.allows_eviction {
            return refused(
                "the server may evict the ledger's keys when its memory is full: set \
                 `maxmemory-policy noeviction`, or open with `allow_eviction()`",
            );
        }
        if health.appends == Some(false) && !self.allows_loss && !self.letters_elsewhere {
            return refused(
                "nothing that the server is told lasts a restart, and dead letters have to: set \
                 `appendonly yes`, open with `letters_in(…)`, or with `allow_loss()`",
            );
        }
        Ok(())
    }

    async fn check_disks(
        &self,
        link: &Link,
        health: &Health,
        replicas: u32,
    ) -> Result<(), StoreError> {
        let probed = Line::new(link.clone()).ask(&Disks::probe()).await;
        probed.map_err(|error| match error.kind {
            StoreErrorKind::Refused => StoreError {
                message:
                    "the ledger is to wait for disks, and the server refuses `WAITAOF`. It takes \
                          Redis 7.2 or newer, or Valkey, with `appendonly yes`, and a user with \
                          `+waitaof`; or open without `wait_for_disks`"
                        .into(),
                ..error
            },
            _ => error,
        })?;
        // `INFO` may be forbidden.
        if health.appends.is_some() && health.replicas < u64::from(replicas) {
            let message = format!(
                "the ledger is to wait for the disks of {replicas} replicas, and the server has {}",
                health.replicas
            );
            return Err(StoreError::new(StoreErrorKind::Away, message));
        }
        Ok(())
    }

    fn link(&self) -> Result<Link, StoreError> {
        if self.name.is_empty() || self.name.contains(['{', '}']) {
            let message = "a ledger on Redis has a name without braces";
            return Err(StoreError::new(StoreErrorKind::Refused, message));
        }
        let disks = self
            .disks
            .map(|replicas| Disks::new(replicas, &tag(&self.name)));
        Ok(Link::to(&self.address)?.waiting_for(disks))
    }
}

/// A server that stands still is one that does not answer.
async fn in_time<T>(asking: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let away = |_| StoreError::new(StoreErrorKind::Away, "the server does not answer");
    timeout(ANSWER, asking).await.map_err(away)?
}

/// A ledger that is being opened.
pub type OpeningLedger<S = RedisStore> =
    std::pin::Pin<Box<dyn Future<Output = Result<SharedLedger<S>, LedgerError>> + Send>>;

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Redis")
            .field("name", &self.name)
            .field("lease", &self.lease)
            .field("create", &self.creates)
            .field("allow_eviction", &self.allows_eviction)
            .field("allow_loss", &self.allows_loss)
            .field("wait_for_disks", &self.disks)
            .finish_non_exhaustive()
    }
}
