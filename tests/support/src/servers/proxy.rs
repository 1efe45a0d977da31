//! A proxy between a client and a server that can be cut.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Another host on the loopback, for servers behind a proxy on their own port.
pub(super) const BEHIND: &str = "127.0.0.2";

/// Passes bytes on to a port of the loopback, until it is cut.
#[derive(Debug)]
pub(super) struct Proxy {
    port: u16,
    whole: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
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
        let whole = Arc::new(watch::Sender::new(true));
        let state = Arc::clone(&whole);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut state = state.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        // Bytes on their way in both directions are lost with the sockets.
                        _ = state.wait_for(|whole| !whole) => {}
                        _ = pass(client, server) => {}
                    }
                });
            }
        });
        Ok(Self { port, whole, task })
    }

    /// Returns the port for clients.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections and accepts no others.
    pub(super) fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets connections through again.
    pub(super) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn pass(mut client: TcpStream, server: (&str, u16)) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
