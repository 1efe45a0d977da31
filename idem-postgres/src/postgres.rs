//! The settings of the ledger, and how it is opened.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use idem_runtime::ledger::shared::{SharedLedger, StoreError, StoreErrorKind};
use idem_runtime::ledger::{Context, LedgerError};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgPool};

use crate::health::Health;
use crate::link::Link;
use crate::room::Room;
use crate::schema::Schema;
use crate::sessions::Sessions;
use crate::store::PostgresStore;
use crate::viewer::Viewer;

/// How many reads of a runtime may be under way beside each other.
const READS: u32 = 4;

/// The connections of a runtime for writes: batches are written beside each other.
const WRITES: u32 = 4;

/// The pause before an opening that waits for the server tries again.
const AGAIN: Duration = Duration::from_millis(500);

/// A ledger on PostgreSQL, about to be opened.
///
/// ```no_run
/// use std::time::Duration;
/// use idem_postgres::Postgres;
/// use idem_runtime::Idem;
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let idem = Idem::builder()
///     .open_with(Postgres::connect("postgres://shop@db.example/shop"))
///     .await?;
///
/// // With settings:
/// let postgres = Postgres::new("postgres://shop@db.example/shop").lease(Duration::from_secs(20));
/// let idem = Idem::builder().open_with(postgres.ledger()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Postgres {
    options: Result<PgConnectOptions, String>,
    pool: Option<PgPool>,
    schema: String,
    lease: Duration,
    connections: u32,
    bounced: bool,
    migrates: bool,
}

impl Postgres {
    /// Opens the ledger in the database of this URL, for
    /// [`open_with`](idem_runtime::IdemBuilder::open_with). The same as `Postgres::new(url).ledger()`.
    pub fn connect(url: &str) -> impl FnOnce(Context) -> OpeningLedger + use<> {
        Self::new(url).ledger()
    }

    /// Returns the settings of a ledger in the database of this URL. What the URL leaves out is
    /// taken from the variables of the environment that `libpq` knows, such as `PGPASSWORD`, and
    /// from the file `.pgpass`. The parameter `pgbouncer=true` is the same as
    /// [`pgbouncer(true)`](Self::pgbouncer).
    pub fn new(url: &str) -> Self {
        let (url, bounced) = without_pgbouncer(url);
        Self::at(&url).pgbouncer(bounced)
    }

    fn at(url: &str) -> Self {
        // The error would quote the URL, in which a password may be.
        let unreadable =
            "the URL of the database cannot be read: write postgres://USER@HOST/DATABASE";
        let options = match url.split_once("://") {
            // sqlx takes any scheme.
            Some(("postgres" | "postgresql", _)) => PgConnectOptions::from_str(url).ok(),
            _ => None,
        };
        Self::of(options.ok_or_else(|| unreadable.to_owned()))
    }

    /// Returns the settings of a ledger in the database of these options.
    pub fn with_options(options: PgConnectOptions) -> Self {
        Self::of(Ok(options))
    }

    /// Returns the settings of a ledger in the database of the service's own pool, which it then
    /// uses for reads. It has to lead to the primary. Batches, heartbeats and the transactions of
    /// attempts have connections of their own, with the options of the pool's.
    pub fn with_pool(pool: PgPool) -> Self {
        let options = PgConnectOptions::clone(&pool.connect_options());
        Self {
            pool: Some(pool),
            ..Self::of(Ok(options))
        }
    }

    fn of(options: Result<PgConnectOptions, String>) -> Self {
        Self {
            options,
            pool: None,
            schema: "idem".to_owned(),
            lease: Duration::from_secs(30),
            connections: 10,
            bounced: false,
            migrates: true,
        }
    }

    /// Sets the name of the schema that idem's tables are in (default: `idem`).
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Sets how long after its last heartbeat a process loses its claims (default: 30 s).
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how many transactions of attempts may be open on one tokio runtime (default: 10). An attempt
    /// that needs one more waits.
    #[must_use]
    pub fn connections(mut self, most: u32) -> Self {
        self.connections = most.max(1);
        self
    }

    /// Says that [PgBouncer](https://www.pgbouncer.org) or the like stands between (default: no). It
    /// may give each transaction another session, so nothing is prepared or set for longer than
    /// that, and a batch takes three trips more.
    #[must_use]
    pub fn pgbouncer(mut self, between: bool) -> Self {
        self.bounced = between;
        self
    }

    /// Sets whether opening makes the tables, or brings them to the version that this program needs
    /// (default: yes). Else it fails if they are not; [`schema_sql`](crate::schema_sql) has the
    /// statements.
    #[must_use]
    pub fn migrate(mut self, migrates: bool) -> Self {
        self.migrates = migrates;
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

    /// Returns what opens the ledger for a role that may only read. This process is then no runner: it
    /// sweeps nothing, makes no tables, and every change is refused for the reason `why`.
    pub fn viewer(self, why: String) -> impl FnOnce(Context) -> OpeningLedger<Viewer> + use<> {
        |context| {
            Box::pin(async move {
                let lease = self.lease;
                let store = self.migrate(false).store_within(context.wait).await?;
                SharedLedger::open(Viewer { store, why }, context, lease).await
            })
        }
    }

    /// Asks the server for what the ledger's promises rest on. It makes no tables, and a standby
    /// answers too.
    ///
    /// # Errors
    /// When the settings are wrong, or no server answers.
    pub async fn health(self) -> Result<Health, StoreError> {
        let refused = |message: String| StoreError::new(StoreErrorKind::Refused, message);
        let schema = Schema::named(&self.schema)?;
        let link = Link::new(self.options.map_err(refused)?, self.bounced);
        Health::ask(&schema, link.connect_plainly().await?).await
    }

    /// As [`store`](Self::store), but tries again while no server answers, for `longest`.
    async fn store_within(self, longest: Duration) -> Result<PostgresStore, StoreError> {
        let begun = Instant::now();
        loop {
            match self.clone().store().await {
                Err(error) if error.kind == StoreErrorKind::Away && begun.elapsed() < longest => {
                    tracing::info!(error = format_args!("{error:#}"), "waiting for the server");
                    tokio::time::sleep(AGAIN).await;
                }
                opened => return opened,
            }
        }
    }

    /// Connects, and sees to the schema.
    ///
    /// # Errors
    /// When the settings are wrong, no server answers, or the schema cannot be used.
    pub async fn store(self) -> Result<PostgresStore, StoreError> {
        let refused = |message: String| StoreError::new(StoreErrorKind::Refused, message);
        let schema = Schema::named(&self.schema)?;
        let link = Link::new(self.options.map_err(refused)?, self.bounced);
        let mut connection = link.connect(&[("plan_cache_mode", "auto")]).await?;
        schema.check_server(&mut connection).await?;
        if self.migrates {
            schema.migrate(&mut connection).await?;
        } else if !schema.is_current(&mut connection).await? {
            return Err(schema.refused(
                "its tables are missing or older than this program needs: let a service open it \
                 that may make them, or run the statements of `idem_postgres::schema_sql`",
            ));
        }
        let mut room = Room {
            writes: WRITES,
            reads: READS,
            transactions: self.connections,
        };
        // The limits are those of the pooler's own connections.
        if !self.bounced {
            room = room.within_limits(&mut connection).await?;
        }
        // Closed it is in any case.
        let _ = connection.close().await;
        let reads = match self.pool {
            Some(pool) => Sessions::of_service(link.clone(), pool),
            None => Sessions::with_settings(link.clone(), room.reads),
        };
        Ok(PostgresStore::new(schema, &link, reads, room, self.lease))
    }
}

/// Takes the parameter that sqlx does not know out of a URL, and returns whether it was `true`.
fn without_pgbouncer(url: &str) -> (String, bool) {
    let Some((place, parameters)) = url.split_once('?') else {
        return (url.to_owned(), false);
    };
    let is_ours = |parameter: &&str| matches!(*parameter, "pgbouncer=true" | "pgbouncer=false");
    let (ours, others): (Vec<_>, Vec<_>) = parameters.split('&').partition(is_ours);
    let bounced = ours.last() == Some(&"pgbouncer=true");
    (format!("{place}?{}", others.join("&")), bounced)
}

/// A ledger that is being opened.
pub type OpeningLedger<S = PostgresStore> =
    std::pin::Pin<Box<dyn Future<Output = Result<SharedLedger<S>, LedgerError>> + Send>>;

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options may hold a password.
        f.debug_struct("Postgres")
            .field("schema", &self.schema)
            .field("lease", &self.lease)
            .field("connections", &self.connections)
            .field("pgbouncer", &self.bounced)
            .field("migrate", &self.migrates)
            .finish_non_exhaustive()
    }
}
