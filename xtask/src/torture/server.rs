//! The PostgreSQL that the processes share, which is ended now and then too.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use idem_test_support::servers::{Needs, POSTGRES, Server};

use super::event::Event;
use super::pipe::{self, Pipe};
use super::plan;

/// For how long after an outage calls may say that the server cannot be reached: their deadline,
/// and a little more.
const EXCUSED: Duration = Duration::from_secs(12);

/// The server of one round.
pub(crate) struct Shared {
    server: Arc<Server>,
    seed: u64,
    outages: u32,
    /// When the next outage begins.
    next: Instant,
    /// The outage that is going on.
    away: Option<JoinHandle<anyhow::Result<()>>>,
    back: Option<Instant>,
}

impl Shared {
    /// Starts a server with `fsync` on, whose files are gone when it is dropped.
    pub(crate) fn start(seed: u64) -> anyhow::Result<Self> {
        let server = block_on(async { Server::start(&POSTGRES, Needs::Own).await })?;
        Ok(Self {
            server: Arc::new(server),
            seed,
            outages: 0,
            next: Instant::now() + plan::outage(seed, 0).after,
            away: None,
            back: None,
        })
    }

    /// Returns the URL of its database.
    pub(crate) fn url(&self) -> String {
        format!("{}/postgres", self.server.address())
    }

    /// Returns how many outages there were.
    pub(crate) fn outages(&self) -> u32 {
        self.outages
    }

    /// Returns when the next outage begins, unless one is going on.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.away.is_none().then_some(self.next)
    }

    /// Begins the next outage.
    pub(crate) fn end(&mut self, pipe: &Pipe) -> anyhow::Result<()> {
        let outage = plan::outage(self.seed, self.outages);
        self.outages += 1;
        let (mut log, server) = (pipe.writer()?, Arc::clone(&self.server));
        pipe::write(&mut log, 0, Event::ServerEnds)?;
        // A thread of its own, so that processes are killed while the server recovers.
        self.away = Some(thread::spawn(move || {
            let ended = server.shut_down(outage.signal);
            thread::sleep(outage.pause);
            let back = ended.and_then(|()| block_on(server.restart()));
            pipe::write(&mut log, 0, Event::ServerIsBack)?;
            back
        }));
        Ok(())
    }

    /// Takes the end of an outage.
    pub(crate) fn is_back(&mut self) -> anyhow::Result<()> {
        if let Some(away) = self.away.take() {
            let died = |_| anyhow!("the thread that restarts the server has panicked");
            away.join().map_err(died).flatten()?;
        }
        let now = Instant::now();
        self.back = Some(now);
        self.next = now + plan::outage(self.seed, self.outages).after;
        Ok(())
    }

    /// Returns whether an outage excuses that the server was not reached.
    pub(crate) fn is_excused(&self) -> bool {
        self.away.is_some() || self.back.is_some_and(|back| back.elapsed() < EXCUSED)
    }
}

fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(future)
}
