//! Alerts by mail.

mod builder;
mod config_error;
mod failure;
mod message;
mod server;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use idem_runtime::clock::BoxFuture;
use lettre::message::Mailbox;
use parking_lot::Mutex;
use uuid::Uuid;

pub use builder::EmailBuilder;
pub use config_error::EmailConfigError;
use failure::Failure;
pub use server::Protection;
use server::{Server, deliver};

use super::{Alert, AlertError, Notice, Retry};
use crate::secret::{Secret, scrubbed};

/// The most deliveries remembered of notices that some addresses still lack.
const DELIVERIES: usize = 1024;

/// Alerts by mail: plain text and HTML in one message.
///
/// The mails of one group (service, handler, kind of error) form one thread, their subjects start
/// with `[idem]` and the service, and a second copy has the same Message-ID.
///
/// Each address gets a mail of its own, so one that the server refuses does not keep the alert from
/// the others. If another address took the mail, a permanent refusal is logged as a warning; a
/// temporary refusal is an error, and the next try goes only to the addresses that lack the mail.
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
    /// Notices that were delivered to some of `to` and not yet to the others.
    delivered: Mutex<VecDeque<(Uuid, usize)>>,
}

impl Email {
    /// Builds a channel that sends mail through the server at `url`.
    ///
    /// `smtp://user@host:587` requires STARTTLS, `smtps://user@host:465` is TLS from the start, and
    /// `smtp://127.0.0.1:25?tls=none` is plain, for a relay on the loopback only. The ports shown
    /// are the defaults. The address never contains the password.
    pub fn smtp(url: impl Into<String>) -> EmailBuilder {
        EmailBuilder::new(Secret::new(url))
    }

    /// Returns how mail is protected on its way to the server.
    pub fn protection(&self) -> Protection {
        self.server.protection
    }

    async fn try_send(&self, notice: &Notice) -> Result<(), Failure> {
        let mail = message::compose(notice, &self.from, &self.to)
            .map_err(Failure::Local)?
            .formatted();
        let (mut later, mut refused) = (None, Vec::new());
        for (index, to) in self.to.iter().enumerate() {
            if self.delivered.lock().contains(&(notice.id, index)) {
                continue;
            }
            let connection = self.server.connect().await?;
            match deliver(connection, &self.from.email, &to.email, &mail).await {
                Ok(()) => self.remember(notice.id, index),
                Err(failure @ Failure::Refused { .. }) if failure.retry() == Retry::Never => {
                    refused.push((to, failure));
                }
                Err(failure @ Failure::Refused { .. }) => later = later.or(Some(failure)),
                Err(failure) => return Err(failure),
            }
        }
        if let Some(failure) = later {
            return Err(failure);
        }
        let delivered = self.delivered_to_any(notice.id);
        for (to, failure) in refused {
            if !delivered {
                return Err(failure);
            }
            tracing::warn!(channel = self.name, address = %to.email, "the server refused an address for good: {failure}");
        }
        self.delivered.lock().retain(|(id, _)| *id != notice.id);
        Ok(())
    }

    /// Remembers at once that an address took the mail, so that a send that fails or is dropped
    /// later does not send it there again.
    fn remember(&self, id: Uuid, index: usize) {
        let mut delivered = self.delivered.lock();
        if delivered.len() >= DELIVERIES {
            delivered.pop_front();
        }
        delivered.push_back((id, index));
    }

    fn delivered_to_any(&self, id: Uuid) -> bool {
        self.delivered.lock().iter().any(|(other, _)| *other == id)
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
