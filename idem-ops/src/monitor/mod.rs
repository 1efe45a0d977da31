//! When people are told, and that they are.
//!
//! The ledger writes a note with each letter: nobody was told of it. The monitor turns those notes
//! into notices, puts each notice into an outbox in the ledger in the same write that removes the
//! notes, and sends what is in the outbox. So a letter is untold or in a notice, whenever the
//! process dies; only a notice that was sent, and whose sending was not yet recorded, is sent
//! again, with the same id.

mod channel;
mod deliver;
mod gather;
mod outbox;
mod policy;
mod state;
mod stays_open;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use idem_runtime::{Error, Idem};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use url::Url;

use crate::alert::{Alert, Notice, NoticeKind};
use crate::metrics;
use channel::Channel;
pub use policy::Policy;
#[cfg(feature = "dashboard")]
pub(crate) use state::all as channels;
pub use state::{AlertState, ChannelState};

/// How often the ledger is looked through, whatever the hints say.
const LOOK: Duration = Duration::from_secs(5);

/// Watches the dead letters of an [`Idem`], and tells people by a [`Policy`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let idem = idem_runtime::Idem::open(folder.path())?;
/// # use idem_ops::alert::{Alert, AlertError, BoxFuture, Notice};
/// # struct Terminal;
/// # impl Alert for Terminal {
/// #     fn name(&self) -> &str { "terminal" }
/// #     fn send<'a>(&'a self, _: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>> { Box::pin(async { Ok(()) }) }
/// # }
/// use std::time::Duration;
/// use idem_ops::monitor::{Monitor, Policy};
///
/// let policy = Policy::default().digest_every(Duration::from_secs(15 * 60)).escalate_after(Duration::from_secs(4 * 3600));
/// let monitor = Monitor::of(&idem, "orders").policy(policy).tell(Terminal).start()?;
/// // … the service runs …
/// monitor.stop().await;
/// # Ok(()) }
/// ```
#[must_use]
pub struct Monitor {
    idem: Idem,
    service: String,
    dashboard: Option<Url>,
    policy: Policy,
    channels: Vec<Channel>,
}

/// What the monitor's tasks share.
struct Watching {
    idem: Idem,
    service: String,
    dashboard: Option<Url>,
    policy: Policy,
    channels: Vec<Channel>,
    /// Rung when the outbox has something new.
    mail: Notify,
}

impl Monitor {
    /// A monitor that tells nobody yet. `service` is what people know the service by.
    pub fn of(idem: &Idem, service: impl Into<String>) -> Self {
        let (idem, service) = (idem.clone(), service.into());
        Self {
            idem,
            service,
            dashboard: None,
            policy: Policy::default(),
            channels: Vec::new(),
        }
    }

    /// When people are told.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Where people look and act, for the links: the dashboard's whole address, with the prefix
    /// that it is nested at, as in `https://orders.example.com/ops`.
    pub fn dashboard(mut self, url: Url) -> Self {
        self.dashboard = Some(url);
        self
    }

    /// Tells these people of new letters.
    pub fn tell(self, alert: impl Alert + 'static) -> Self {
        self.channel(Box::new(alert), false)
    }

    /// Tells these people, and nobody else, of letters that stay open for too long.
    pub fn escalate_to(self, alert: impl Alert + 'static) -> Self {
        self.channel(Box::new(alert), true)
    }

    pub(crate) fn channel(mut self, alert: Box<dyn Alert>, escalation: bool) -> Self {
        self.channels.push(Channel::new(alert, escalation));
        self
    }

    /// Starts watching, in tasks of the current tokio runtime. They end with [`Watch::stop`], or
    /// when it is dropped.
    ///
    /// Letters that were written while nobody watched are told of as if they had come now.
    ///
    /// # Errors
    /// [`SameName`] when two channels have one name: what waits for them could not be told apart.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(self) -> Result<Watch, SameName> {
        let Self {
            idem,
            service,
            dashboard,
            policy,
            channels,
        } = self;
        let mut names = HashSet::new();
        if let Some(channel) = channels
            .iter()
            .find(|channel| !names.insert(channel.name()))
        {
            return Err(SameName {
                name: channel.name().to_owned(),
            });
        }
        metrics::describe_metrics();
        let watching = Arc::new(Watching {
            idem,
            service,
            dashboard,
            policy,
            channels,
            mail: Notify::new(),
        });
        let (end, ended) = watch::channel(());
        Ok(Watch {
            task: tokio::spawn(watching.run(ended)),
            end,
        })
    }

    /// Sends a test to every channel now, beside the outbox: whether alerts would arrive.
    ///
    /// # Errors
    /// Those of the channels, each for itself.
    pub async fn test(&self) -> Vec<(String, Result<(), crate::alert::AlertError>)> {
        let mut notice = Notice::new(NoticeKind::Test, &self.service, self.idem.clock().now());
        notice.dashboard = self.dashboard.clone();
        let notice = &notice;
        let sent = self.channels.iter().map(|channel| async move {
            (channel.name().to_owned(), channel.alert.send(notice).await)
        });
        join_all(sent).await
    }
}

/// Two channels have one name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two alert channels are named `{name}`: give each a name of its own")]
#[non_exhaustive]
pub struct SameName {
    /// The name.
    pub name: String,
}

/// A running monitor.
pub struct Watch {
    task: JoinHandle<()>,
    end: watch::Sender<()>,
}

impl Watch {
    /// Stops it. What is being sent is let finish; what waits is sent by the next monitor on this
    /// ledger.
    pub async fn stop(self) {
        drop(self.end);
        // A task that panicked has said so.
        let _ = self.task.await;
    }
}

impl Watching {
    async fn run(self: Arc<Self>, mut ended: watch::Receiver<()>) {
        let senders = (0..self.channels.len()).map(|channel| {
            let (watching, ended) = (Arc::clone(&self), ended.clone());
            tokio::spawn(async move { watching.deliver(channel, ended).await })
        });
        let senders: Vec<_> = senders.collect();
        let (clock, mut born) = (self.idem.clock(), self.idem.dead_letters().watch());
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "dead letters could not be looked through; it will be tried again");
            }
            tokio::select! {
                // The sender is never used: an error is the end.
                _ = ended.changed() => break,
                // A hint. What comes with it is in the ledger, which is the truth.
                Some(_) = born.next() => while born.next().now_or_never().flatten().is_some() {},
                () = clock.sleep(LOOK) => {}
            }
        }
        for sender in senders {
            let _ = sender.await;
        }
    }

    /// One look at the ledger: what is new, what has stayed open for too long, and how much waits.
    async fn look(&self) -> Result<(), Error> {
        let told = self.gather().await?;
        let escalated = self.escalate().await?;
        if told || escalated {
            self.mail.notify_waiters();
        }
        let notes = self.idem.notes();
        for channel in &self.channels {
            metrics::waiting(channel.name(), outbox::count(&notes, channel.name()).await?);
        }
        Ok(())
    }
}
