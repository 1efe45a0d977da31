//! Real servers in temporary folders on free ports of the loopback.
//!
//! A server ends with the process that started it, however that ends, and so does its folder.
//! `IDEM_TEST_POSTGRES`, `IDEM_TEST_REDIS`, `IDEM_TEST_VALKEY`, `IDEM_TEST_NATS`, `IDEM_TEST_AMQP`, `IDEM_TEST_KAFKA`
//! and `IDEM_TEST_ROCKETMQ` are the addresses of running servers. `IDEM_TEST_REDIS_SERVER` is the program
//! that is started as Redis.

mod keeper;
mod kinds;
#[cfg(feature = "kafka")]
mod mock;
mod postgres;
mod proxy;
mod redis;
mod rocketmq;
mod wire;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use keeper::Keeper;
#[cfg(feature = "kafka")]
pub use kinds::MOCK_KAFKA;
pub use kinds::{HASTY_RABBITMQ, KAFKA, Kind, NATS, RABBITMQ, find};
use kinds::{KINDS, Ports, Processes, Runs, Tells};
use libtest_mimic::{Completion, Failed, Trial};
#[cfg(feature = "kafka")]
use mock::Mock;
#[cfg(feature = "postgres")]
pub use postgres::{Database, Standby, Trips};
pub use postgres::{PGBOUNCER, POSTGRES};
use proxy::Proxy;
pub use redis::{REDIS, REDIS_NODE, REDIS_SENTINEL, VALKEY, bus_port};
pub use rocketmq::ROCKETMQ;
use rustix::fs::statvfs;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::timeout;
pub use wire::Wire;

use crate::DEADLINE;

/// What a test needs of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Any server, also a shared one: names of the test's own are enough.
    Any,
    /// A server of its own, because the test kills it or puts it back to an earlier state.
    Own,
}

/// Returns a test on a server. Without one the test is ignored, and with `CI=true` it fails;
/// `cargo xtask test` installs servers if it can. A test that kills its server always starts its
/// own.
pub fn trial<F, T>(name: impl Into<String>, kind: &'static Kind, needs: Needs, test: F) -> Trial
where
    F: FnOnce(Arc<Server>) -> T + Send + 'static,
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    trial_beside(name, kind, needs, &[], test)
}

/// Returns a test on a server, as [`trial`] does, that starts servers of other kinds itself.
pub fn trial_beside<F, T>(
    name: impl Into<String>,
    kind: &'static Kind,
    needs: Needs,
    others: &'static [&'static Kind],
    test: F,
) -> Trial
where
    F: FnOnce(Arc<Server>) -> T + Send + 'static,
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    Trial::ignorable_test(name, move || {
        let outside = kind.outside().filter(|_| needs == Needs::Any);
        let needed = others.iter().map(|other| (*other, Needs::Own));
        let mut needed = (outside.is_none())
            .then_some((kind, needs))
            .into_iter()
            .chain(needed);
        if let Some((missing, needs)) = needed.find(|(needed, _)| !needed.is_there()) {
            let text = missing.missed(needs);
            let must = !missing.asked_for && env::var("CI").is_ok_and(|ci| ci == "true");
            return if must {
                Err(Failed::from(text))
            } else {
                Ok(Completion::ignored_with(text))
            };
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let ended = runtime.block_on(async {
            timeout(4 * DEADLINE, async {
                let server = match (outside, needs) {
                    (Some(address), _) => Server::outside(kind, address),
                    (None, Needs::Any) => Server::shared(kind).await?,
                    (None, Needs::Own) => Arc::new(Server::start(kind, needs).await?),
                };
                test(server).await
            })
            .await
        });
        // Tasks that a failed test left must not delay the harness.
        runtime.shutdown_background();
        match ended.unwrap_or_else(|_| Err(anyhow::anyhow!("it does not end"))) {
            Ok(()) => Ok(Completion::Completed),
            Err(error) => Err(Failed::from(format!("{error:#}"))),
        }
    })
}

/// A server that runs or was killed.
#[derive(Debug)]
pub struct Server {
    kind: &'static Kind,
    address: String,
    /// `None` if the server runs outside of the tests.
    own: Option<Own>,
}

#[derive(Debug)]
enum Own {
    Processes(Running),
    #[cfg(feature = "kafka")]
    Inside(Mock),
}

/// Processes of the test's own.
#[derive(Debug)]
struct Running {
    processes: &'static Processes,
    port: u16,
    needs: Needs,
    /// The proxy that clients are told to go to, if there is one.
    front: Option<Proxy>,
    folder: Arc<TempDir>,
    keepers: parking_lot::Mutex<Vec<Keeper>>,
}

/// Returns a folder for a server's files: in memory if tests share it and there is room, as each database of
/// PostgreSQL is hundreds of files, and ext4 looks long for inodes that were not deleted just now.
fn folder(needs: Needs) -> std::io::Result<TempDir> {
    const MEMORY: &str = "/dev/shm";
    const ROOM: u64 = 4 << 30;
    let has_room = || statvfs(MEMORY).is_ok_and(|memory| memory.f_bavail * memory.f_frsize >= ROOM);
    match needs {
        Needs::Any if has_room() => tempfile::tempdir_in(MEMORY),
        _ => tempfile::tempdir(),
    }
}

/// A copy of a server's files.
#[derive(Debug)]
pub struct Copied(TempDir);

impl Server {
    /// Starts a server.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(kind: &'static Kind, needs: Needs) -> anyhow::Result<Self> {
        match &kind.runs {
            Runs::Processes(processes) => {
                Self::launch(kind, processes, needs, folder(needs)?).await
            }
            #[cfg(feature = "kafka")]
            Runs::Inside => {
                let mock = Mock::start()?;
                Ok(Self {
                    kind,
                    address: mock.address()?,
                    own: Some(Own::Inside(mock)),
                })
            }
        }
    }

    async fn launch(
        kind: &'static Kind,
        processes: &'static Processes,
        needs: Needs,
        folder: TempDir,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        // A proxy ends with the test that starts it.
        let (front, address) = match processes.tells {
            _ if needs != Needs::Own => (None, kind.address(port)),
            Tells::Nothing => (None, kind.address(port)),
            Tells::Port => {
                let front = Proxy::start(port).await?;
                let address = kind.address(front.port());
                (Some(front), address)
            }
            Tells::Host => (
                Some(Proxy::before_another_host().await?),
                kind.address(port),
            ),
        };
        let running = Running {
            processes,
            port,
            needs,
            front,
            folder: Arc::new(folder),
            keepers: parking_lot::Mutex::default(),
        };
        let server = Self {
            kind,
            address,
            own: Some(Own::Processes(running)),
        };
        server.restart().await?;
        Ok(server)
    }

    /// Returns the server that the tests of this process share.
    async fn shared(kind: &'static Kind) -> anyhow::Result<Arc<Self>> {
        static SHARED: [OnceCell<Arc<Server>>; KINDS] = [const { OnceCell::const_new() }; KINDS];
        let start = || async { Self::start(kind, Needs::Any).await.map(Arc::new) };
        SHARED[kind.place].get_or_try_init(start).await.cloned()
    }

    fn outside(kind: &'static Kind, address: String) -> Arc<Self> {
        Arc::new(Self {
            kind,
            address,
            own: None,
        })
    }

    /// Returns its address for clients.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns a connection to it that can be cut.
    ///
    /// # Errors
    /// If the server runs outside of the tests; so do all methods below.
    pub async fn wire(&self) -> anyhow::Result<Wire<'_>> {
        match self.own()? {
            Own::Processes(Running {
                front: Some(front), ..
            }) => Ok(Wire::front(self.address.clone(), front)),
            Own::Processes(running) => {
                let proxy = Proxy::start(running.port).await?;
                Ok(Wire::aside(self.kind.address(proxy.port()), proxy))
            }
            #[cfg(feature = "kafka")]
            Own::Inside(mock) => Ok(Wire::inside(self.address.clone(), mock)),
        }
    }

    /// Kills it with SIGKILL, and all its children.
    pub fn kill(&self) -> anyhow::Result<()> {
        match self.own()? {
            Own::Processes(running) => running.kill(),
            #[cfg(feature = "kafka")]
            Own::Inside(mock) => mock.go_down(),
        }
    }

    /// Shuts it down with a signal: `INT` is fast for PostgreSQL, and `QUIT` is immediate.
    pub fn shut_down(&self, signal: &str) -> anyhow::Result<()> {
        self.running()?.end(signal)
    }

    /// Stops its processes with SIGSTOP: connections stand, and no answer comes.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.running()?.signal("STOP")
    }

    /// Lets its processes go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.running()?.signal("CONT")
    }

    /// Starts it again on its files and its port.
    pub async fn restart(&self) -> anyhow::Result<()> {
        match self.own()? {
            Own::Processes(running) => running.start(self.kind).await,
            #[cfg(feature = "kafka")]
            Own::Inside(mock) => mock.come_up(),
        }
    }

    /// Copies its files; it must have been killed.
    pub fn copy(&self) -> anyhow::Result<Copied> {
        let running = self.running()?;
        ensure!(
            running.keepers.lock().is_empty(),
            "the files of a running server are not one state"
        );
        let copied = tempfile::tempdir()?;
        copy_folder(running.folder.path(), copied.path())?;
        Ok(Copied(copied))
    }

    /// Restores its files; it must have been killed.
    pub fn put_back(&self, copied: &Copied) -> anyhow::Result<()> {
        let running = self.running()?;
        ensure!(
            running.keepers.lock().is_empty(),
            "the files of a running server are not to be changed"
        );
        for entry in std::fs::read_dir(running.folder.path())? {
            let path = entry?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else {
                std::fs::remove_file(path)?;
            }
        }
        copy_folder(copied.0.path(), running.folder.path())
    }

    /// Adds lines to one of its files; it must have been killed.
    pub fn append(&self, file: &str, lines: &str) -> anyhow::Result<()> {
        let running = self.running()?;
        ensure!(
            running.keepers.lock().is_empty(),
            "the files of a running server are not to be changed"
        );
        let file = running.folder.path().join(file);
        let text = std::fs::read_to_string(&file)?;
        Ok(std::fs::write(file, format!("{text}\n{lines}\n"))?)
    }

    fn own(&self) -> anyhow::Result<&Own> {
        self.own
            .as_ref()
            .with_context(|| format!("this {} runs outside of the tests", self.kind.name))
    }

    fn running(&self) -> anyhow::Result<&Running> {
        match self.own()? {
            Own::Processes(running) => Ok(running),
            #[cfg(feature = "kafka")]
            Own::Inside(_) => bail!("{} has no files", self.kind.name),
        }
    }
}

impl Running {
    fn kill(&self) -> anyhow::Result<()> {
        self.end("KILL")
    }

    fn end(&self, signal: &str) -> anyhow::Result<()> {
        let mut keepers = self.keepers.lock();
        keepers.drain(..).try_for_each(|keeper| keeper.end(signal))
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let mut keepers = self.keepers.lock();
        keepers
            .iter_mut()
            .try_for_each(|keeper| keeper.signal(signal))
    }

    async fn start(&self, kind: &Kind) -> anyhow::Result<()> {
        let ports = Ports {
            own: self.port,
            told: self.front.as_ref().map_or(self.port, Proxy::port),
        };
        for command in (self.processes.start)(self.folder.path(), ports, self.needs)? {
            self.keepers
                .lock()
                .push(Keeper::start(&command, Arc::clone(&self.folder))?);
        }
        let until = Instant::now() + DEADLINE;
        while !self.processes.is_ready(self.port).await {
            if Instant::now() > until {
                bail!(
                    "{} does not start; it says:\n{}",
                    kind.name,
                    keeper::said(self.folder.path())
                );
            }
            // A server does not announce that it is ready, so it is polled.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Returns a port below those that the system gives to clients: one of those could be taken while
/// the server is down, and a client that connects to its own port talks to itself.
pub fn free_port() -> anyhow::Result<u16> {
    let ports = std::iter::repeat_with(|| fastrand::u16(20_000..32_000)).take(1000);
    let mut free = ports.filter(|port| is_free(*port));
    free.next().context("no free port on the loopback")
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
