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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
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
        let state = Arc::new(watch::Sender::new(State::Whole));
        let sender = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut state = sender.subscribe();
                tokio::spawn(async move {
                    let passed = state.clone();
                    tokio::select! {
                        biased;
                        // Bytes on their way in both directions are lost with the sockets.
                        _ = state.wait_for(|state| *state == State::Cut) => {}
                        _ = pass(client, server, passed) => {}
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
        self.state.send_replace(State::Cut);
    }

    /// Holds every byte back in both directions.
    pub(super) fn stall(&self) {
        self.state.send_replace(State::Stalled);
    }

    /// Lets bytes through again, those that it held back first.
    pub(super) fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn pass(
    mut client: TcpStream,
    server: (&str, u16),
    mut state: watch::Receiver<State>,
) -> anyhow::Result<()> {
    whole(&mut state).await?;
    let mut server = TcpStream::connect(server).await?;
    let (client, server) = (client.split(), server.split());
    tokio::try_join!(
        flow(client.0, server.1, state.clone()),
        flow(server.0, client.1, state)
    )?;
    Ok(())
}

async fn flow(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) -> anyhow::Result<()> {
    let mut bytes = Vec::with_capacity(16 * 1024);
    loop {
        let read = from.read_buf(&mut bytes).await?;
        whole(&mut state).await?;
        if read == 0 {
            return Ok(to.shutdown().await?);
        }
        to.write_all(&bytes).await?;
        bytes.clear();
    }
}

async fn whole(state: &mut watch::Receiver<State>) -> anyhow::Result<()> {
    state.wait_for(|state| *state == State::Whole).await?;
    Ok(())
}
