//! Connecting to a server.

use std::fmt::Display;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use futures_util::FutureExt;
use percent_encoding::percent_decode_str;
use tokio_util::sync::CancellationToken;

use crate::address::Address;
use crate::error::BrokerError;

/// Connects, and returns a token that is cancelled when the connection breaks: the client would
/// reconnect by itself, but requests made before are lost then.
pub(super) async fn connect(
    url: &Address,
    options: Option<ConnectOptions>,
) -> Result<(Client, CancellationToken), BrokerError> {
    // Has no effect if the process installed a provider of its own.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let lost = CancellationToken::new();
    let disconnected = lost.clone();
    let (address, options) = login(url, options.unwrap_or_default())?;
    let options = options.max_reconnects(1).event_callback(move |event| {
        if matches!(event, Event::Disconnected | Event::Closed) {
            disconnected.cancel();
        }
        std::future::ready(())
    });
    let client = options.connect(address).await.map_err(failed("connect"))?;
    Ok((client, lost))
}

/// Moves the login from the address to the options: the client ignores it in the address, and logs
/// addresses.
fn login(
    url: &Address,
    options: ConnectOptions,
) -> Result<(ServerAddr, ConnectOptions), BrokerError> {
    let address: ServerAddr = url.expose().parse().map_err(failed("read the address"))?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let options = match (
        address.username().map(decoded),
        address.password().map(decoded),
    ) {
        (user, Some(password)) => options.user_and_password(user.unwrap_or_default(), password),
        (Some(token), None) => options.token(token),
        (None, None) => options,
    };
    let mut bare = address.into_inner();
    if bare
        .set_username("")
        .and_then(|()| bare.set_password(None))
        .is_err()
    {
        return Err(BrokerError::new(
            "nats",
            "read the address",
            "it does not name a server",
        ));
    }
    Ok((
        ServerAddr::from_url(bare).map_err(failed("read the address"))?,
        options,
    ))
}

pub(super) fn failed<E: Display>(doing: &'static str) -> impl Fn(E) -> BrokerError {
    move |problem| BrokerError::new("nats", doing, problem.to_string())
}

/// Waits for `work`, or fails if the connection breaks first.
///
/// It is no `async fn`, which would have room for `work` twice.
pub(super) fn while_connected<T, E: Display>(
    lost: &CancellationToken,
    doing: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, BrokerError>> {
    lost.run_until_cancelled(work).map(move |done| match done {
        Some(done) => done.map_err(failed(doing)),
        None => Err(BrokerError::new("nats", doing, "the connection broke")),
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            io::Write::write(&mut *self.0.lock().unwrap(), bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_login_in_the_address_reaches_the_server_but_not_the_log() {
        const INFO: &str = r#"INFO {"server_id":"A","version":"2.10.0","go":"1","host":"a","port":1,"max_payload":1048576,"proto":1,"headers":true}"#;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut connects = Vec::new();
            for _ in 0..2 {
                let mut stream = BufReader::new(listener.accept().await.unwrap().0);
                stream
                    .write_all(format!("{INFO}\r\n").as_bytes())
                    .await
                    .unwrap();
                let mut connect = String::new();
                stream.read_line(&mut connect).await.unwrap();
                stream.write_all(b"PONG\r\n").await.unwrap();
                connects.push((connect, stream));
            }
            connects
                .into_iter()
                .map(|(connect, _)| connect)
                .collect::<Vec<_>>()
        });
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone());
        let _guard = tracing::subscriber::set_default(subscriber.finish());
        let mut clients = Vec::new();
        for login in ["shop:hunter%402", "hunter%402"] {
            let address = Address::new(format!("nats://{login}@{place}"));
            assert!(!format!("{address:?}").contains("hunter"));
            clients.push(connect(&address, None).await.unwrap());
        }
        let [user, token] = &server.await.unwrap()[..] else {
            panic!("two connections")
        };
        assert!(
            user.contains(r#""user":"shop","pass":"hunter@2""#),
            "{user}"
        );
        assert!(token.contains(r#""auth_token":"hunter@2""#), "{token}");
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(
            log.contains("connecting to server") && !log.contains("hunter"),
            "{log}"
        );
    }
}
