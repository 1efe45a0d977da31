//! One conversation with the mail server.
//!
//! lettre's own pool takes a connection back when a send is dropped halfway, and then reads the old
//! mail's answers as the next one's. So the commands are sent here, each answer is held against the
//! code that belongs to it, and a connection is kept only after a mail that went well.

use std::time::{Duration, Instant};

use lettre::address::Address;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;

use super::Protection;
use super::failure::{Failure, Stage};
use crate::secret::Secret;

/// Servers close an idle connection after some minutes; one that is older than this is not asked.
const FRESH: Duration = Duration::from_secs(60);

/// How to reach the server and who we are.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) protection: Protection,
    pub(super) tls: Option<TlsParameters>,
    pub(super) credentials: Option<Credentials>,
    /// What no error may show.
    pub(super) hidden: Vec<Secret>,
    pub(super) hello: ClientId,
}

/// A connection between two mails.
pub(super) struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

/// What became of each address.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    pub(super) taken: Vec<Address>,
    pub(super) refused: Vec<(Address, Failure)>,
}

impl Idle {
    pub(super) fn new(connection: AsyncSmtpConnection) -> Self {
        Self {
            connection,
            since: Instant::now(),
        }
    }
}

impl Server {
    /// The kept connection if it still answers, else a new one.
    pub(super) async fn connect(&self, idle: Option<Idle>) -> Result<AsyncSmtpConnection, Failure> {
        if let Some(mut idle) = idle.filter(|idle| idle.since.elapsed() < FRESH)
            && idle.connection.test_connected().await
        {
            return Ok(idle.connection);
        }
        let implicit = self
            .tls
            .clone()
            .filter(|_| self.protection == Protection::Implicit);
        // Addresses are tried one after another without a limit of their own: the whole has one.
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            (self.host.as_str(), self.port),
            None,
            &self.hello,
            implicit,
            None,
        )
        .await
        .map_err(|error| Failure::smtp(Stage::Connect, &error))?;
        if self.protection == Protection::StartTls {
            if !connection.can_starttls() {
                return Err(Failure::NoStartTls);
            }
            if let Some(tls) = self.tls.clone() {
                connection
                    .starttls(tls, &self.hello)
                    .await
                    .map_err(|error| Failure::smtp(Stage::StartTls, &error))?;
            }
        }
        if self.protection != Protection::Plain && !connection.is_encrypted() {
            return Err(Failure::NoStartTls);
        }
        if let Some(credentials) = &self.credentials {
            if connection
                .server_info()
                .get_auth_mechanism(DEFAULT_MECHANISMS)
                .is_none()
            {
                return Err(Failure::NoAuth);
            }
            let answer = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            expect(Stage::Auth, 235, answer)?;
        }
        Ok(connection)
    }
}

/// Sends one mail to whoever of `to` the server takes it for.
pub(super) async fn deliver(
    connection: &mut AsyncSmtpConnection,
    from: &Address,
    to: &[Address],
    mail: &[u8],
) -> Result<Accepted, Failure> {
    let mut options = Vec::new();
    if !to
        .iter()
        .chain([from])
        .all(|address| AsRef::<str>::as_ref(address).is_ascii())
    {
        if !connection
            .server_info()
            .supports_feature(Extension::SmtpUtfEight)
        {
            return Err(Failure::NoUtf8);
        }
        options.push(MailParameter::SmtpUtfEight);
    }
    if !mail.is_ascii() {
        options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    expect(
        Stage::From,
        250,
        connection
            .command(Mail::new(Some(from.clone()), options))
            .await,
    )?;
    let mut accepted = Accepted::default();
    for address in to {
        match expect(
            Stage::To,
            250,
            connection
                .command(Rcpt::new(address.clone(), Vec::new()))
                .await,
        ) {
            Ok(()) => accepted.taken.push(address.clone()),
            // One address that is gone must not keep the alert from the others.
            Err(failure @ Failure::Refused { .. }) => {
                accepted.refused.push((address.clone(), failure))
            }
            Err(failure) => return Err(failure),
        }
    }
    if !accepted.taken.is_empty() {
        expect(Stage::Data, 354, connection.command(Data).await)?;
        expect(Stage::Content, 250, connection.message(mail).await)?;
    }
    Ok(accepted)
}

/// An answer that belongs to another command means that client and server no longer talk about the
/// same thing.
fn expect(
    stage: Stage,
    code: u16,
    answer: Result<Response, lettre::transport::smtp::Error>,
) -> Result<(), Failure> {
    match answer {
        Ok(response) if response.has_code(code) => Ok(()),
        // A forwarded address: the server takes it all the same.
        Ok(response) if stage == Stage::To && response.has_code(251) => Ok(()),
        Ok(response) => Err(Failure::OutOfStep {
            stage,
            code: response.code().to_string(),
        }),
        Err(error) => Err(Failure::smtp(stage, &error)),
    }
}
