//! Real servers in temporary folders on free ports of the loopback.
//!
//! A server ends with the process that started it, however that ends, and so does its folder. `IDEM_TEST_REDIS`,
//! `IDEM_TEST_NATS`, `IDEM_TEST_AMQP` and `IDEM_TEST_ROCKETMQ` are the addresses of servers that somebody runs already.

mod keeper;
mod kinds;
mod proxy;
mod rocketmq;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use keeper::Keeper;
pub use kinds::{Kind, NATS, RABBITMQ, REDIS};
use libtest_mimic::{Completion, Failed, Trial};
pub use proxy::Proxy;
pub use rocketmq::ROCKETMQ;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::DEADLINE;

/// What a server has to put up with in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Names of the test's own are enough: any server will do, also one that others use.
    Any,
    /// It is killed, or put back to an earlier state: nobody else may use it.
    Own,
}

/// A test on a server. Where there is none it is listed as ignored, and with `CI=true` it fails: `cargo xtask test`
/// installs them where it can. A test that needs a server of its own is ignored where only somebody else's is to be used.
pub fn trial<F, T>(name: impl Into<String>, kind: &'static Kind, needs: Needs, test: F) -> Trial
where
    F: FnOnce(Arc<Server>) -> T + Send + 'static,
    T: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    Trial::ignorable_test(name, move || {
        let outside = env::var(kind.variable).ok();
        if outside.is_some() && needs == Needs::Own {
            return Ok(Completion::ignored_with("it kills its server, and this one is somebody else's"));
        }
        if outside.is_none() && !kind.is_there() {
            let text = format!("no {}: `{}`, or say where one runs in {}", kind.name, kind.how, kind.variable);
            let must = env::var("CI").is_ok_and(|ci| ci == "true");
            return if must { Err(Failed::from(text)) } else { Ok(Completion::ignored_with(text)) };
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let ended = runtime.block_on(async {
            timeout(4 * DEADLINE, async {
                let server = match (outside, needs) {
                    (Some(address), _) => Server::outside(kind, address),
                    (None, Needs::Any) => Server::shared(kind).await?,
                    (None, Needs::Own) => Arc::new(Server::start(kind).await?),
                };
                test(server).await
            })
            .await
        });
        // What a failed test left running must not hold the harness up.
        runtime.shutdown_background();
        match ended.unwrap_or_else(|_| Err(anyhow::anyhow!("it does not end"))) {
            Ok(()) => Ok(Completion::Completed),
            Err(error) => Err(Failed::from(format!("{error:#}"))),
        }
    })
}

/// A server that runs, or did until it was killed.
#[derive(Debug)]
pub struct Server {
    kind: &'static Kind,
    address: String,
    /// Nothing where somebody else runs it.
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    port: u16,
    folder: Arc<TempDir>,
    running: parking_lot::Mutex<Vec<Keeper>>,
}

/// A server's files as they were.
#[derive(Debug)]
pub struct Copied(TempDir);

impl Server {
    /// Starts one of the test's own.
    ///
    /// # Errors
    /// It does not start, as with everything below.
    pub async fn start(kind: &'static Kind) -> anyhow::Result<Self> {
        let port = free_port()?;
        let folder = Arc::new(tempfile::tempdir()?);
        let own = Own { port, folder, running: parking_lot::Mutex::default() };
        let server = Self { kind, address: kind.address(port), own: Some(own) };
        server.restart().await?;
        Ok(server)
    }

    /// The one that the tests of this process share.
    async fn shared(kind: &'static Kind) -> anyhow::Result<Arc<Self>> {
        static SHARED: [OnceCell<Arc<Server>>; 5] = [const { OnceCell::const_new() }; 5];
        let shared = SHARED[kind.place].get_or_try_init(|| async { Self::start(kind).await.map(Arc::new) });
        shared.await.cloned()
    }

    fn outside(kind: &'static Kind, address: String) -> Arc<Self> {
        Arc::new(Self { kind, address, own: None })
    }

    /// As its clients are given it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its port on 127.0.0.1, where it is the test's own.
    ///
    /// # Errors
    /// Somebody else runs it.
    pub fn port(&self) -> anyhow::Result<u16> {
        Ok(self.own()?.port)
    }

    /// The address with another port: a proxy's.
    pub fn address_through(&self, proxy: &Proxy) -> String {
        self.kind.address(proxy.port())
    }

    /// Kills it with SIGKILL, and all its children.
    ///
    /// # Errors
    /// It is somebody else's.
    pub fn kill(&self) -> anyhow::Result<()> {
        let own = self.own()?;
        own.running.lock().drain(..).try_for_each(Keeper::kill)?;
        Ok(())
    }

    /// Starts it on its files and its port.
    pub async fn restart(&self) -> anyhow::Result<()> {
        let own = self.own()?;
        let started = (self.kind.start)(own.folder.path(), own.port)?;
        for command in started {
            own.running.lock().push(Keeper::start(&command, Arc::clone(&own.folder))?);
        }
        let until = Instant::now() + DEADLINE;
        while !self.kind.is_ready(own.port).await {
            if Instant::now() > until {
                bail!("{} does not start; it says:\n{}", self.kind.name, keeper::said(own.folder.path()));
            }
            // A server tells nobody that it is ready, so it is asked.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A copy of its files; it must be killed.
    pub fn copy(&self) -> anyhow::Result<Copied> {
        let own = self.own()?;
        ensure!(own.running.lock().is_empty(), "the files of a running server are not one state");
        let copied = tempfile::tempdir()?;
        copy_folder(own.folder.path(), copied.path())?;
        Ok(Copied(copied))
    }

    /// Puts its files back to what they were; it must be killed.
    pub fn put_back(&self, copied: &Copied) -> anyhow::Result<()> {
        let own = self.own()?;
        ensure!(own.running.lock().is_empty(), "the files of a running server are not to be changed");
        for entry in std::fs::read_dir(own.folder.path())? {
            let path = entry?.path();
            if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
        }
        copy_folder(copied.0.path(), own.folder.path())
    }

    fn own(&self) -> anyhow::Result<&Own> {
        self.own.as_ref().with_context(|| format!("this {} is somebody else's", self.kind.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.own.as_ref().map(|own| own.running.lock().drain(..).try_for_each(Keeper::kill));
    }
}

/// Below the ports that the system gives to clients: one of those could be taken while the server is down, and a client
/// that connects to its own port talks to itself.
fn free_port() -> anyhow::Result<u16> {
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
