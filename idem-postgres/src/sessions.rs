//! Connections that are lent for a while. Each is used on the runtime that it was made on, so that its
//! answers wake the task that waits for them, and no other thread.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use idem_runtime::ledger::shared::StoreError;
use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection, Postgres};
use tokio::runtime::{Handle, Id};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{leaves_connection, of_connecting, of_statement};
use crate::link::{CONNECTING, Link, run};

/// How long a connection may take to say that it still works, or to be given back.
const COMING_BACK: Duration = Duration::from_secs(4);

/// Of how many runtimes connections are kept.
const RUNTIMES: usize = 8;

/// After which time a connection is asked whether it still works.
const IDLE: Duration = Duration::from_secs(1);

/// The connections of one purpose.
#[derive(Debug)]
pub(crate) struct Sessions {
    link: Link,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Own(Arc<Own>),
    /// The service's own pool, whose sessions have its settings, and which it closes itself.
    Service(PgPool),
}

/// Connections of idem's own.
#[derive(Debug)]
struct Own {
    purpose: Purpose,
    most: usize,
    /// A runtime that stands still keeps its connections, and no others.
    pools: Mutex<HashMap<Id, Arc<Pool>>>,
    is_closed: AtomicBool,
}

/// The connections of a runtime.
#[derive(Debug)]
struct Pool {
    free: Arc<Semaphore>,
    /// Those that are not lent, and since when: what was used longest ago first.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
}

#[derive(Debug)]
enum Purpose {
    /// The sessions have idem's settings.
    Reads,
    /// Statements prepare each session.
    Transactions(Option<String>),
}

impl Sessions {
    /// Returns up to so many sessions with idem's settings for each runtime.
    pub(crate) fn with_settings(link: Link, most: u32) -> Self {
        Self::own(link, most, Purpose::Reads)
    }

    /// Returns up to so many sessions for transactions, which are as the server gives them to the
    /// service. [`Connection::begin`] makes a savepoint in them, always: begin the transaction itself
    /// in SQL. Statements may prepare each of them.
    pub(crate) fn of_transactions(link: Link, most: u32, prepare: Option<String>) -> Self {
        Self::own(link, most, Purpose::Transactions(prepare))
    }

    fn own(link: Link, most: u32, purpose: Purpose) -> Self {
        let source = Source::Own(Arc::new(Own {
            purpose,
            most: most as usize,
            pools: Mutex::default(),
            is_closed: AtomicBool::default(),
        }));
        Self { link, source }
    }

    /// Returns the sessions of the service's pool.
    pub(crate) fn of_service(link: Link, pool: PgPool) -> Self {
        Self {
            link,
            source: Source::Service(pool),
        }
    }

    /// Waits for a session. Dropped without [`give_back`](Session::give_back), it is closed.
    pub(crate) async fn lend(&self) -> Result<Session, StoreError> {
        let held = match &self.source {
            Source::Own(own) => own.lend(&self.link).await?,
            // In a box, as connecting is: all that asks the store would be 14 KB larger.
            Source::Service(pool) => match Box::pin(pool.acquire()).await {
                Ok(connection) => Held::Service(connection),
                // sqlx does not say whether it could not connect, and why.
                Err(error @ sqlx::Error::PoolTimedOut) => {
                    let why = Box::pin(self.link.connect_plainly()).await.err();
                    return Err(why.unwrap_or_else(|| of_connecting(error)));
                }
                Err(error) => return Err(of_connecting(error)),
            },
        };
        Ok(Session {
            held: Some(held),
            runtime: Handle::current(),
        })
    }

    /// Returns a session if one is connected and free: it waits for none. The service's are not lent so.
    pub(crate) async fn idle(&self) -> Option<Session> {
        let Source::Own(own) = &self.source else {
            return None;
        };
        let pool = own.pool();
        let permit = Arc::clone(&pool.free).try_acquire_owned().ok()?;
        let connection = pool.idle().await?;
        Some(Session {
            held: Some(Held::Own(connection, pool, permit)),
            runtime: Handle::current(),
        })
    }

    /// Runs one statement that changes nothing.
    pub(crate) async fn rows(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        self.run(query, self.link.bounced).await
    }

    /// Runs one statement as a transaction of its own, at the isolation that idem's own sessions have.
    pub(crate) async fn change(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let is_service = matches!(self.source, Source::Service(_));
        self.run(query, self.link.bounced || is_service).await
    }

    async fn run(
        &self,
        query: Query<'_, Postgres, PgArguments>,
        begins: bool,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut session = self.lend().await?;
        let answer = run(&mut session, query, begins).await;
        if answer.as_ref().err().is_none_or(leaves_connection) {
            session.give_back();
        }
        answer.map_err(of_statement)
    }

    /// Closes those that are idle, and the others when they are given back; not the service's.
    pub(crate) async fn close(&self) {
        let Source::Own(own) = &self.source else {
            return;
        };
        own.is_closed.store(true, Ordering::Relaxed);
        let pools = std::mem::take(&mut *own.pools.lock());
        // Closed they are in any case.
        let closing = async {
            for pool in pools.into_values() {
                pool.free.close();
                let idle = std::mem::take(&mut *pool.idle.lock());
                for (connection, _) in idle {
                    let _ = connection.close().await;
                }
            }
        };
        let _ = timeout(COMING_BACK, closing).await;
    }
}

impl Own {
    async fn lend(&self, link: &Link) -> Result<Held, StoreError> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(of_connecting(sqlx::Error::PoolClosed));
        }
        let pool = self.pool();
        let waited = timeout(CONNECTING, Arc::clone(&pool.free).acquire_owned()).await;
        let permit = match waited {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(of_connecting(sqlx::Error::PoolClosed)),
            Err(_) => return Err(of_connecting(sqlx::Error::PoolTimedOut)),
        };
        let connection = match pool.idle().await {
            Some(connection) => connection,
            None => Box::pin(self.connect(link)).await?,
        };
        Ok(Held::Own(connection, pool, permit))
    }

    /// Returns the pool of this runtime.
    fn pool(&self) -> Arc<Pool> {
        let (here, mut pools) = (Handle::current().id(), self.pools.lock());
        if !pools.contains_key(&here) && pools.len() >= RUNTIMES {
            // Some may have ended.
            pools.retain(|_, pool| pool.free.available_permits() < self.most);
        }
        let pool = pools.entry(here).or_insert_with(|| {
            Arc::new(Pool {
                free: Arc::new(Semaphore::new(self.most)),
                idle: Mutex::default(),
            })
        });
        Arc::clone(pool)
    }

    async fn connect(&self, link: &Link) -> Result<PgConnection, StoreError> {
        let Purpose::Transactions(prepare) = &self.purpose else {
            return link.connect(&[]).await;
        };
        let mut connection = link.connect_plainly().await?;
        let begun = connection.begin().await.map_err(of_connecting)?;
        // sqlx goes on to count it.
        std::mem::forget(begun);
        let first = format!("ROLLBACK; {}", prepare.as_deref().unwrap_or_default());
        let first = sqlx::raw_sql(AssertSqlSafe(first));
        first
            .execute(&mut connection)
            .await
            .map_err(of_connecting)?;
        Ok(connection)
    }
}

impl Pool {
    /// Returns the connection that was used last, if it still works.
    async fn idle(&self) -> Option<PgConnection> {
        let (mut connection, since) = self.idle.lock().pop()?;
        if since.elapsed() < IDLE || still_works(&mut connection).await {
            return Some(connection);
        }
        // What broke it broke the others.
        self.idle.lock().retain(|(_, other)| *other > since);
        None
    }
}

async fn still_works(connection: &mut PgConnection) -> bool {
    matches!(timeout(COMING_BACK, connection.ping()).await, Ok(Ok(())))
}

/// A connection that is lent.
#[derive(Debug)]
pub(crate) struct Session {
    /// `None` once it was given back.
    held: Option<Held>,
    /// Where it is used.
    runtime: Handle,
}

#[derive(Debug)]
enum Held {
    Own(PgConnection, Arc<Pool>, OwnedSemaphorePermit),
    Service(PoolConnection<Postgres>),
}

impl Session {
    /// Returns the runtime that it is used on.
    pub(crate) fn runtime(&self) -> Id {
        self.runtime.id()
    }

    /// Gives it back for others to use. No transaction must be open on it.
    pub(crate) fn give_back(mut self) {
        match self.held.take() {
            Some(Held::Own(connection, pool, permit)) => {
                if !pool.free.is_closed() {
                    pool.idle.lock().push((connection, Instant::now()));
                }
                drop(permit);
            }
            // The pool asks whether it still works, and would wait for ever where the network has
            // lost it.
            Some(Held::Service(mut connection)) => {
                self.runtime
                    .spawn(timeout(COMING_BACK, connection.return_to_pool()));
            }
            None => {}
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(Held::Service(mut connection)) = self.held.take() {
            let _here = self.runtime.enter();
            connection.close_on_drop();
            drop(connection);
        }
    }
}

#[expect(clippy::expect_used, reason = "it is taken only with `self` itself")]
impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self.held.as_ref().expect("it is held") {
            Held::Own(connection, ..) => connection,
            Held::Service(connection) => connection,
        }
    }
}

#[expect(clippy::expect_used, reason = "it is taken only with `self` itself")]
impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self.held.as_mut().expect("it is held") {
            Held::Own(connection, ..) => connection,
            Held::Service(connection) => connection,
        }
    }
}
