//! The mail server: how to reach it, and one mail to one address.

use lettre::address::{Address, Envelope};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use super::failure::{Failure, Stage, expect};
use crate::secret::Secret;

/// How mail is protected on its way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// `smtp://`: the connection starts plain and switches to TLS before login and mail. Without TLS,
    /// nothing is sent.
    StartTls,
    /// `smtps://`: TLS from the first byte.
    Implicit,
    /// `smtp://…?tls=none`: no protection, to a relay on the loopback.
    Plain,
}

/// How to reach the server, and the client's name and login.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) protection: Protection,
    pub(super) tls: Option<TlsParameters>,
    pub(super) credentials: Option<Credentials>,
    /// Texts that no error may show.
    pub(super) hidden: Vec<Secret>,
    pub(super) hello: ClientId,
}

impl Server {
    /// Connects, switches to TLS and logs in.
    ///
    /// lettre's transport does the same, but it pools connections as soon as any crate of the
    /// program enables that feature, and then takes the answer to a dropped mail for the next one's.
    pub(super) async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let (wrapper, starttls) = match self.protection {
            Protection::Implicit => (self.tls.clone(), None),
            Protection::StartTls => (None, self.tls.clone()),
            Protection::Plain => (None, None),
        };
        let address = (self.host.as_str(), self.port);
        // Without a timeout of its own: `Email::send` limits the whole.
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, None, &self.hello, wrapper, None)
                .await
                .map_err(|error| Failure::smtp(Stage::Connect, &error))?;
        if let Some(tls) = starttls {
            if !connection.can_starttls() {
                return Err(Failure::NoStartTls);
            }
            connection
                .starttls(tls, &self.hello)
                .await
                .map_err(|error| Failure::smtp(Stage::StartTls, &error))?;
        }
        if let Some(credentials) = &self.credentials {
            let answer = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            // Answers injected before TLS began shift the real ones: they do not fit the login.
            expect(Stage::Login, 235, answer)?;
        }
        Ok(connection)
    }
}

/// Sends the mail to one address, so that each has its own answer.
///
/// The connection is closed without a `QUIT`: a server that is slow to say goodbye would make a mail
/// that it took look like one that failed.
pub(super) async fn deliver(
    mut connection: AsyncSmtpConnection,
    from: &Address,
    to: &Address,
    mail: &[u8],
) -> Result<(), Failure> {
    let envelope = Envelope::new(Some(from.clone()), vec![to.clone()])
        .map_err(|error| Failure::Local(error.to_string()))?;
    expect(Stage::Mail, 250, connection.send(&envelope, mail).await)
}
