//! Round trips between clients and PostgreSQL, counted by a proxy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Counts what asks the server for an answer.
pub struct Trips {
    url: String,
    count: Arc<AtomicU64>,
}

impl Trips {
    /// Stands before the server of this URL until the runtime ends.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn before(url: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (user, place) = url.split_once('@').unwrap_or(("", url));
        let (server, database) = place.split_once('/').unwrap_or((place, ""));
        let (server, count) = (server.to_owned(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(&server).await
                    && client
                        .set_nodelay(true)
                        .and(server.set_nodelay(true))
                        .is_ok()
                {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let counted = Arc::clone(&counted);
                    tokio::spawn(async move {
                        // Its end is the end of the connection.
                        let _ = pass(&mut from_client, &mut to_server, &counted).await;
                    });
                    tokio::spawn(async move {
                        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                    });
                }
            }
        });
        let url = format!("{user}@127.0.0.1:{port}/{database}?sslmode=disable");
        Ok(Self { url, count })
    }

    /// Returns the URL that leads through the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns how many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Passes on what a client says, and counts its messages `Query` and `Sync`.
async fn pass(
    client: &mut (impl AsyncReadExt + Unpin),
    server: &mut (impl AsyncWriteExt + Unpin),
    count: &AtomicU64,
) -> io::Result<()> {
    // The first message has no kind.
    let mut kind = None;
    loop {
        let length = client.read_u32().await?;
        let mut message = vec![0; length.saturating_sub(4) as usize];
        client.read_exact(&mut message).await?;
        if matches!(kind, Some(b'Q' | b'S')) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mut whole = Vec::from_iter(kind);
        whole.extend(length.to_be_bytes());
        whole.append(&mut message);
        server.write_all(&whole).await?;
        kind = Some(client.read_u8().await?);
    }
}
