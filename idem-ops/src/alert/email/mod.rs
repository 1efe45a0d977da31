//! Alerts by mail.

mod builder;
mod config_error;
mod connection;
mod failure;
mod message;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use idem_runtime::clock::BoxFuture;
use lettre::Address;
use lettre::message::Mailbox;
use uuid::Uuid;

pub use builder::EmailBuilder;
pub use config_error::EmailConfigError;
use connection::{Idle, Server, deliver};
use failure::Failure;

use super::{Alert, AlertError, Notice};
use crate::secret::{Secret, scrubbed};

/// Notices that were taken for some addresses and not yet for others.
const HALF_SENT: usize = 64;

/// How mail is protected on its way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// `smtp://`: the connection starts plain and becomes TLS before anything is said; without that
    /// nothing is sent.
    StartTls,
    /// `smtps://`: TLS from the first byte.
    Implicit,
    /// `smtp://…?tls=none`: no protection, to a relay on the loopback.
    Plain,
}

/// Alerts by mail: plain text and HTML in one message.
///
/// The mails of one group (service, handler, kind of error) form one thread, their subjects start
/// with `[idem]` and the service, and a second copy has the same Message-ID. One connection is kept
/// for the next mail.
///
/// An address that the server refuses does not keep the alert from the others: with one of them
/// taken, a refusal for good is logged as a warning; a refusal for now is an error, and the next
/// try goes to the rest only.
///
/// # Example
///
/// ```
/// use idem_ops::Secret;
/// use idem_ops::alert::Email;
///
/// let email = Email::smtp("smtp://alerts@mail.example.com:587")
///     .password(Secret::new("from a file or the environment, please"))
///     .from("idem <alerts@example.com>")
///     .to("on-call@example.com")
///     .to("shop@example.com")
///     .build();
/// # // A machine without any root certificate cannot use TLS.
/// # let _ = email;
/// ```
pub struct Email {
    name: String,
    server: Server,
    from: Mailbox,
    to: Vec<Mailbox>,
    timeout: Duration,
    idle: Mutex<Option<Idle>>,
    half_sent: Mutex<VecDeque<(Uuid, Vec<Address>)>>,
}

impl Email {
    /// Mail through the server at `url`.
    ///
    /// `smtp://user@host:587` needs STARTTLS, `smtps://user@host:465` is TLS from the start, and
    /// `smtp://127.0.0.1:25?tls=none` is plain, for a relay on the loopback only. The ports shown
    /// are the defaults. The password never stands in the address.
    pub fn smtp(url: impl Into<String>) -> EmailBuilder {
        EmailBuilder::new(Secret::new(url))
    }

    /// How mail is protected on its way to the server.
    pub fn protection(&self) -> Protection {
        self.server.protection
    }

    fn new(
        name: String,
        server: Server,
        from: Mailbox,
        to: Vec<Mailbox>,
        timeout: Duration,
    ) -> Self {
        Self {
            name,
            server,
            from,
            to,
            timeout,
            idle: Mutex::default(),
            half_sent: Mutex::default(),
        }
    }

    async fn try_send(&self, notice: &Notice) -> Result<(), Failure> {
        let mail = message::compose(notice, &self.from, &self.to)
            .map_err(Failure::Local)?
            .formatted();
        let had = self.had(notice.id);
        let left: Vec<_> = self
            .to
            .iter()
            .map(|to| to.email.clone())
            .filter(|to| !had.contains(to))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        // Taken out, so that a send that is dropped halfway takes its connection along.
        let idle = lock(&self.idle).take();
        let mut connection = self.server.connect(idle).await?;
        let accepted = deliver(&mut connection, &self.from.email, &left, &mail).await?;
        if accepted.refused.is_empty() {
            *lock(&self.idle) = Some(Idle::new(connection));
        }
        self.settle(notice.id, accepted, !had.is_empty())
    }

    /// What a mail that some addresses took and others did not means for its caller.
    fn settle(
        &self,
        id: Uuid,
        accepted: connection::Accepted,
        some_before: bool,
    ) -> Result<(), Failure> {
        let (refused, later): (Vec<_>, Vec<_>) =
            accepted.refused.into_iter().partition(|(_, failure)| {
                matches!(
                    failure,
                    Failure::Refused {
                        permanent: true,
                        ..
                    }
                )
            });
        let some_have_it = some_before || !accepted.taken.is_empty();
        if let Some((_, failure)) = refused
            .first()
            .filter(|_| later.is_empty() && !some_have_it)
        {
            return Err(failure.clone());
        }
        for (address, failure) in &refused {
            tracing::warn!(channel = self.name, %address, "an alert's address was refused for good: {failure}");
        }
        let done = accepted
            .taken
            .into_iter()
            .chain(refused.into_iter().map(|(address, _)| address));
        let mut half_sent = lock(&self.half_sent);
        let before = half_sent
            .iter()
            .position(|(other, _)| *other == id)
            .and_then(|at| half_sent.remove(at));
        let Some((_, failure)) = later.into_iter().next() else {
            return Ok(());
        };
        let mut addresses = before.map(|(_, addresses)| addresses).unwrap_or_default();
        addresses.extend(done);
        if half_sent.len() >= HALF_SENT {
            half_sent.pop_front();
        }
        half_sent.push_back((id, addresses));
        Err(failure)
    }

    /// The addresses that need no further copy of this notice.
    fn had(&self, id: Uuid) -> Vec<Address> {
        let half_sent = lock(&self.half_sent);
        half_sent
            .iter()
            .find(|(other, _)| *other == id)
            .map(|(_, addresses)| addresses.clone())
            .unwrap_or_default()
    }
}

impl Alert for Email {
    fn name(&self) -> &str {
        &self.name
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>> {
        Box::pin(async move {
            let sent = tokio::time::timeout(self.timeout, self.try_send(notice)).await;
            let timed_out = Failure::TimedOut {
                seconds: self.timeout.as_secs_f64(),
            };
            sent.unwrap_or(Err(timed_out)).map_err(|failure| {
                let what = format!(
                    "the mail server {}:{} {failure}",
                    self.server.host, self.server.port
                );
                let what = scrubbed(&what, self.server.hidden.iter().map(Secret::expose));
                AlertError::new(&self.name, what, failure.retry(), failure.advice())
            })
        })
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email")
            .field("name", &self.name)
            .field("host", &self.server.host)
            .field("port", &self.server.port)
            .field("protection", &self.server.protection)
            .finish_non_exhaustive()
    }
}

/// What the lock holds is whole after each statement, so a panic elsewhere leaves nothing half
/// done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
