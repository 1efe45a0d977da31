//! A proxy between a client and a server that can be cut or stalled.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Another host on the loopback, for servers behind a proxy on their own port.
pub(super) const BEHIND: &str = "127.0.0.2";

/// Passes bytes on to a port of the loopback, until it is cut or stalled.
#[derive(Debug)]
pub(super) struct Proxy {
    port: u16,
    state: Arc<watch::Sender<State>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    way: Way,
    server: (&'static str, u16),
    /// How often connections were lost. No byte passes through those of before.
    losses: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    /// Connections stand, and no byte passes.
    Stalled,
    Cut,
}

impl Proxy {
    /// Starts a proxy in front of this port of 127.0.0.1.
    ///
    /// # Errors
    /// If there is no port for it.
    pub(super) async fn start(server: u16) -> anyhow::Result<Self> {
        Self::between(super::free_port()?, ("127.0.0.1", server)).await
    }

    /// Starts a proxy in front of the same port of another host.
    ///
    /// # Errors
    /// If there is no port for it.
    pub(super) async fn before_another_host() -> anyhow::Result<Self> {
        let port = super::free_port()?;
        Self::between(port, (BEHIND, port)).await
    }

    async fn between(port: u16, server: (&'static str, u16)) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let state = Arc::new(watch::Sender::new(State {
            way: Way::Whole,
            server,
            losses: 0,
        }));
        let sender = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut state = sender.subscribe();
                tokio::spawn(async move {
                    let passed = state.clone();
                    tokio::select! {
                        biased;
                        // Bytes on their way in both directions are lost with the sockets.
                        _ = state.wait_for(|state| state.way == Way::Cut) => {}
                        _ = pass(client, passed) => {}
                    }
                });
            }
        });
        Ok(Self { port, state, task })
    }

    /// Returns the port for clients.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections and accepts no others.
    pub(super) fn cut(&self) {
        self.change(|state| state.way = Way::Cut);
    }

    /// Holds every byte back in both directions.
    pub(super) fn stall(&self) {
        self.change(|state| state.way = Way::Stalled);
    }

    /// Lets bytes through again, those that it held back first.
    pub(super) fn mend(&self) {
        self.change(|state| state.way = Way::Whole);
    }

    /// Lets new connections through, and nothing through those that are there.
    pub(super) fn lose(&self) {
        self.change(|state| {
            state.way = Way::Whole;
            state.losses += 1;
        });
    }

    /// Leads new connections to another port of 127.0.0.1.
    pub(super) fn lead_to(&self, port: u16) {
        self.change(|state| state.server = ("127.0.0.1", port));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn pass(mut client: TcpStream, mut state: watch::Receiver<State>) -> anyhow::Result<()> {
    let State { losses, server, .. } = *state.wait_for(|state| state.way == Way::Whole).await?;
    let mut server = TcpStream::connect(server).await?;
    let (client, server) = (client.split(), server.split());
    tokio::try_join!(
        flow(client.0, server.1, state.clone(), losses),
        flow(server.0, client.1, state, losses)
    )?;
    Ok(())
}

async fn flow(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    losses: u64,
) -> anyhow::Result<()> {
    let mut bytes = Vec::with_capacity(16 * 1024);
    loop {
        let read = from.read_buf(&mut bytes).await?;
        let is_whole = |state: &State| state.way == Way::Whole && state.losses == losses;
        state.wait_for(is_whole).await?;
        if read == 0 {
            return Ok(to.shutdown().await?);
        }
        to.write_all(&bytes).await?;
        bytes.clear();
    }
}
