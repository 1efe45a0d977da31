//! NATS JetStream: durable pull consumers, acks that the server confirms, its own delay for what
//! comes again.

mod ask;
mod consume;
mod publish;

use std::fmt::Display;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
pub use consume::{Pull, Pulled};
use percent_encoding::percent_decode_str;
pub use publish::JetStream;
use tokio_util::sync::CancellationToken;

use crate::address::Address;
use crate::delivery::Source;
use crate::error::BrokerError;

/// A stream, pulled by a durable consumer that its group shares.
///
/// The consumer is made where it is not there: it begins with the stream's first message, and
/// delivers without a limit, for idem counts the attempts. The stream has to be there, or is made
/// as [`or_make`](Self::or_make) says.
///
/// ```no_run
/// # async fn place(order: String) -> Result<(), idem_runtime::Error> { Ok(()) }
/// # fn run(idem: idem_runtime::Idem) {
/// use idem_brokers::Consumer;
/// use idem_brokers::nats::Nats;
///
/// let orders = Nats::stream("nats://127.0.0.1", "ORDERS").durable("shop").subject("orders.new");
/// let consumer = Consumer::new(&idem, orders).start(place);
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "give it to a `Consumer`"]
pub struct Nats {
    url: Address,
    options: Option<ConnectOptions>,
    stream: String,
    durable: String,
    subject: String,
    make: Vec<String>,
    ack_wait: Duration,
    max_ack_pending: i64,
}

impl Nats {
    /// A stream of the server at a `nats://` or `tls://` address, and the durable consumer `idem`.
    /// A user and a password in the address log in, or a token alone.
    pub fn stream(url: impl Into<String>, stream: impl Into<String>) -> Self {
        Self {
            url: Address::new(url),
            options: None,
            stream: stream.into(),
            durable: "idem".to_owned(),
            subject: String::new(),
            make: Vec::new(),
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 1000,
        }
    }

    /// The durable consumer's name.
    pub fn durable(mut self, name: impl Into<String>) -> Self {
        self.durable = name.into();
        self
    }

    /// Only messages with this subject, wildcards allowed; where the consumer is made.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Makes the stream where it is not there, of messages with these subjects, on the disk and
    /// without a limit.
    pub fn or_make<I: Into<String>>(mut self, subjects: impl IntoIterator<Item = I>) -> Self {
        self.make = subjects.into_iter().map(Into::into).collect();
        self
    }

    /// How to connect: credentials, certificates. Reconnecting is the consumer's.
    pub fn options(mut self, options: ConnectOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// How long a message may be without a sign of life before it is delivered again, where the
    /// consumer is made; 30 seconds by default. A consumer gives a sign every third of it while a
    /// handler runs.
    pub fn ack_wait(mut self, wait: Duration) -> Self {
        self.ack_wait = wait;
        self
    }

    /// How many messages the whole group may have unacked, those in a pause included, where the
    /// consumer is made; 1,000 by default.
    pub fn max_ack_pending(mut self, messages: u32) -> Self {
        self.max_ack_pending = messages.into();
        self
    }
}

impl Source for Nats {
    type Session = Pull;

    fn name(&self) -> String {
        format!("nats:{}", self.stream)
    }

    async fn connect(&self, _prefetch: usize) -> Result<Pull, BrokerError> {
        Pull::open(self).await
    }
}

/// A connection, and what is cancelled when it breaks: the client would come back by itself, but
/// what was asked of the server before is lost then.
async fn connect(
    url: &Address,
    options: Option<ConnectOptions>,
) -> Result<(Client, CancellationToken), BrokerError> {
    // rustls takes the process's own choice, where it made one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let lost = CancellationToken::new();
    let told = lost.clone();
    let (address, options) = login(url, options.unwrap_or_default())?;
    let options = options.max_reconnects(1).event_callback(move |event| {
        if matches!(event, Event::Disconnected | Event::Closed) {
            told.cancel();
        }
        std::future::ready(())
    });
    let client = options.connect(address).await.map_err(failed("connect"))?;
    Ok((client, lost))
}

/// Takes a login out of the address: the client does not log in with it there, and writes addresses
/// into its log.
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
            "it names no server",
        ));
    }
    Ok((
        ServerAddr::from_url(bare).map_err(failed("read the address"))?,
        options,
    ))
}

fn failed<E: Display>(doing: &'static str) -> impl Fn(E) -> BrokerError {
    move |problem| BrokerError::new("nats", doing, problem.to_string())
}

/// What comes of it, unless the connection breaks first.
async fn while_connected<T, E: Display>(
    lost: &CancellationToken,
    doing: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, BrokerError> {
    match lost.run_until_cancelled(work).await {
        Some(done) => done.map_err(failed(doing)),
        None => Err(BrokerError::new("nats", doing, "the connection broke")),
    }
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
    async fn a_login_in_the_address_reaches_the_server_and_no_log() {
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
        let _said = tracing::subscriber::set_default(subscriber.finish());
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
