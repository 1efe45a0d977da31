//! Connections to the server. Each is used on the runtime that it was made on, so that its answers wake
//! the task that waits for them, and no other thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use parking_lot::Mutex;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Cmd, Value};
use tokio::runtime::{Handle, Id};
use tokio::time::timeout;

use crate::address::Address;
use crate::disks::Disks;
use crate::error::{has_no_script, leaves_connection, of_request};
use crate::route::Route;
use crate::script::{Script, TEXTS};

/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(3);
/// How many requests may wait for one connection's turn.
const WAITING: usize = 1_024;
/// Of how many runtimes a line keeps connections.
const RUNTIMES: usize = 8;
/// How often one request is sent, to a server that has forgotten its scripts or names another one.
const SENDS: usize = 5;

/// Where the server is.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    route: Arc<Route>,
    /// The disks that have to have what is written, if it waits for them.
    disks: Option<Disks>,
}

impl Link {
    /// Returns the way to the server of this address.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub(crate) fn to(address: &Address) -> Result<Self, StoreError> {
        // Has no effect if the process installed a provider of its own.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            route: Arc::new(address.route()?),
            disks: None,
        })
    }

    /// Makes each script wait for disks.
    pub(crate) fn waiting_for(self, disks: Option<Disks>) -> Self {
        Self { disks, ..self }
    }

    /// Connects.
    ///
    /// # Errors
    /// When no server answers.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            // The shared ledger has a deadline of its own, by its own clock.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WAITING);
        let connect = |client: redis::Client| {
            let config = config.clone();
            async move {
                client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await
            }
        };
        in_time(self.route.reach(connect)).await
    }

    /// Connects, to hear what is published.
    ///
    /// # Errors
    /// When no server answers.
    pub(crate) async fn listen(&self) -> Result<PubSub, StoreError> {
        let connect = |client: redis::Client| async move { client.get_async_pubsub().await };
        in_time(self.route.reach(connect)).await
    }
}

async fn in_time<T>(
    connecting: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let connected = timeout(2 * CONNECTING, connecting).await;
    connected
        .map_err(|_| StoreError::new(StoreErrorKind::Away, "no connection was made in time"))?
}

/// One connection for each runtime that uses it, which is made again when it breaks.
#[derive(Debug)]
pub(crate) struct Line {
    link: Link,
    ends: Mutex<HashMap<Id, Arc<End>>>,
    made: AtomicU64,
}

/// The connection of a runtime. One that stands still keeps no other from connecting.
#[derive(Debug, Default)]
struct End {
    kept: Mutex<Option<Kept>>,
    /// One connects at a time.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Kept {
    number: u64,
    connection: MultiplexedConnection,
    /// The hashes by which the server knows the scripts.
    hashes: Arc<[String]>,
}

impl Line {
    pub(crate) fn new(link: Link) -> Self {
        Self {
            link,
            ends: Mutex::default(),
            made: AtomicU64::new(0),
        }
    }

    /// Runs a script.
    ///
    /// # Errors
    /// As [`of_request`] classifies them.
    pub(crate) async fn run(
        &self,
        script: Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Value, StoreError> {
        let end = &*self.end();
        for _ in 0..SENDS {
            let Kept {
                number,
                mut connection,
                hashes,
            } = self.kept(end).await?;
            let mut command = redis::cmd("EVALSHA");
            command.arg(&hashes[script as usize]);
            arguments(&mut command);
            let number = Some(number);
            let unanswered = Unanswered { end, number };
            let answer = match &self.link.disks {
                Some(disks) => disks.run(script, command, &mut connection).await,
                None => command.query_async(&mut connection).await.map(Ok),
            };
            match &answer {
                // The server was started anew, or another one took its place, or a person flushed them.
                Err(error) if has_no_script(error) => {
                    Box::pin(load(&mut connection)).await?;
                    unanswered.answered();
                    continue;
                }
                Err(error) if self.link.route.follows(error) => continue,
                Err(error) if !leaves_connection(error) => drop(unanswered),
                _ => unanswered.answered(),
            }
            return answer.map_err(of_request)?;
        }
        Err(sent_away())
    }

    /// Sends a command.
    ///
    /// # Errors
    /// As [`of_request`] classifies them.
    pub(crate) async fn ask(&self, command: &Cmd) -> Result<Value, StoreError> {
        let end = self.end();
        for _ in 0..SENDS {
            let mut kept = self.kept(&end).await?;
            match command.query_async(&mut kept.connection).await {
                Err(error) if self.link.route.follows(&error) => end.lose(kept.number),
                answer => return answer.map_err(of_request),
            }
        }
        Err(sent_away())
    }

    pub(crate) fn close(&self) {
        self.ends.lock().clear();
    }

    /// Returns the end of this runtime.
    fn end(&self) -> Arc<End> {
        let (here, mut ends) = (Handle::current().id(), self.ends.lock());
        if !ends.contains_key(&here) && ends.len() >= RUNTIMES {
            // Some may have ended. The others connect again.
            ends.clear();
        }
        Arc::clone(ends.entry(here).or_default())
    }

    async fn kept(&self, end: &End) -> Result<Kept, StoreError> {
        if let Some(kept) = &*end.kept.lock() {
            return Ok(kept.clone());
        }
        // In a box: all that asks the store would be 4 KB larger.
        Box::pin(self.connect(end)).await
    }

    async fn connect(&self, end: &End) -> Result<Kept, StoreError> {
        let _connecting = end.connecting.lock().await;
        if let Some(kept) = &*end.kept.lock() {
            return Ok(kept.clone());
        }
        let mut connection = self.link.connect().await?;
        let kept = Kept {
            number: self.made.fetch_add(1, Ordering::Relaxed),
            hashes: load(&mut connection).await?,
            connection,
        };
        *end.kept.lock() = Some(kept.clone());
        Ok(kept)
    }
}

impl End {
    fn lose(&self, number: u64) {
        self.kept.lock().take_if(|kept| kept.number == number);
    }
}

fn sent_away() -> StoreError {
    let message = "servers name one another or forget their scripts, again and again";
    StoreError::new(StoreErrorKind::Away, message)
}

/// Loads the scripts, and returns their hashes.
async fn load(connection: &mut MultiplexedConnection) -> Result<Arc<[String]>, StoreError> {
    let mut pipe = redis::pipe();
    for text in TEXTS {
        pipe.cmd("SCRIPT").arg("LOAD").arg(text);
    }
    let hashes: Result<Vec<String>, _> = pipe.query_async(connection).await;
    // What is loaded changes nothing.
    Ok(hashes
        .map_err(|error| of_request(error).before_commit())?
        .into())
}

/// A request without an answer. Dropped so, its connection is not used again: it may stand still.
struct Unanswered<'e> {
    end: &'e End,
    number: Option<u64>,
}

impl Unanswered<'_> {
    fn answered(mut self) {
        self.number = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.end.lose(number);
        }
    }
}
