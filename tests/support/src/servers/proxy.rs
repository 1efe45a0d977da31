//! A wire between a client and a server that can be cut.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes bytes on to a port of the loopback, until it is cut.
#[derive(Debug)]
pub(super) struct Proxy {
    port: u16,
    whole: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// One in front of this port of 127.0.0.1.
    ///
    /// # Errors
    /// There is no port for it.
    pub(super) async fn start(server: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", super::free_port()?)).await?;
        let port = listener.local_addr()?.port();
        let whole = Arc::new(watch::Sender::new(true));
        let state = Arc::clone(&whole);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut state = state.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        // What is on its way in both directions is lost with the sockets.
                        _ = state.wait_for(|whole| !whole) => {}
                        _ = pass(client, server) => {}
                    }
                });
            }
        });
        Ok(Self { port, whole, task })
    }

    /// Where clients connect.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection and takes no other.
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

async fn pass(mut client: TcpStream, server: u16) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
