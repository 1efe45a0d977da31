//! NATS JetStream: durable pull consumers, acks that the server confirms, its own delay for what comes again.

mod ask;
mod consume;
mod publish;

use std::fmt::Display;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
pub use consume::{Pull, Pulled};
pub use publish::JetStream;
use tokio_util::sync::CancellationToken;

use crate::delivery::Source;
use crate::error::BrokerError;

/// A stream, pulled by a durable consumer that its group shares.
///
/// The consumer is made where it is not there: it begins with the stream's first message, and delivers without a limit,
/// for idem counts the attempts. The stream has to be there, or is made as [`or_make`](Self::or_make) says.
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
    url: String,
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
    pub fn stream(url: impl Into<String>, stream: impl Into<String>) -> Self {
        Self {
            url: url.into(),
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

    /// Makes the stream where it is not there, of messages with these subjects, on the disk and without a limit.
    pub fn or_make<I: Into<String>>(mut self, subjects: impl IntoIterator<Item = I>) -> Self {
        self.make = subjects.into_iter().map(Into::into).collect();
        self
    }

    /// How to connect: credentials, certificates. Reconnecting is the consumer's.
    pub fn options(mut self, options: ConnectOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// How long a message may be without a sign of life before it is delivered again, where the consumer is made; 30
    /// seconds by default. A consumer gives a sign every third of it while a handler runs.
    pub fn ack_wait(mut self, wait: Duration) -> Self {
        self.ack_wait = wait;
        self
    }

    /// How many messages the whole group may have unacked, those in a pause included, where the consumer is made; 1,000 by
    /// default.
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

/// A connection, and what is cancelled when it breaks: the client would come back by itself, but what was asked of the
/// server before is lost then.
async fn connect(url: &str, options: Option<ConnectOptions>) -> Result<(Client, CancellationToken), BrokerError> {
    // rustls takes the process's own choice, where it made one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let lost = CancellationToken::new();
    let told = lost.clone();
    let options = options.unwrap_or_default().max_reconnects(1).event_callback(move |event| {
        if matches!(event, Event::Disconnected | Event::Closed) {
            told.cancel();
        }
        std::future::ready(())
    });
    let client = options.connect(url).await.map_err(failed("connect"))?;
    Ok((client, lost))
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
