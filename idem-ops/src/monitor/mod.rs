//! Watches dead letters and paused handlers, and notifies people of them.
//!
//! The ledger writes a note with each letter, which says that no notice has it yet. The monitor
//! turns those notes into notices, stores each notice for its channels in the same write that
//! removes the notes, and sends the stored notices. So a letter has its note or is in a notice,
//! whenever the process dies; only a notice that was sent, and whose sending was not yet recorded,
//! is sent again, with the same id.
//!
//! Of the monitors on one ledger, the one that holds a lease in the notes does all of this, and
//! each of its writes is made only while it holds the lease. The others stand by.

mod channel;
mod checked;
mod digest;
mod escalation;
mod group;
mod notice;
mod pauses;
mod policy;
mod route;
mod sender;
mod state;
mod store;
mod time;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, Stream, StreamExt};
use idem_runtime::clock::{Clock, SystemClock};
use idem_runtime::{DeadLetter, Idem, ledger::LedgerError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use url::Url;

use crate::alert::{Alert, Notice, NoticeKind};
use crate::duty::Duty;
use crate::metrics;
use channel::Channel;
use checked::Checked;
pub(crate) use checked::last_check;
pub use policy::Policy;
pub use route::Route;
#[cfg(feature = "dashboard")]
pub(crate) use state::all as channels;
pub use state::{AlertState, ChannelState};

/// The longest time between two looks at the ledger.
const LOOK: Duration = Duration::from_secs(5);
/// A notice is made once no letter has come for this long …
const QUIET: Duration = Duration::from_millis(500);
/// … or this long after the first.
const GATHER: Duration = Duration::from_secs(5);

/// Watches the dead letters and the paused handlers of an [`Idem`], and sends notices of them by a [`Policy`].
///
/// Each replica on a shared ledger may start one: one of them works, and another takes over when it
/// stops, or half a minute after it died.
///
/// # Example
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
/// let monitor = Monitor::new(&idem, "orders").policy(policy).channel(Terminal).start()?;
/// // … the service runs …
/// monitor.stop().await;
/// # Ok(()) }
/// ```
#[must_use = "nothing is watched before `start`"]
pub struct Monitor {
    idem: Idem,
    service: String,
    dashboard: Option<Url>,
    policy: Policy,
    channels: Vec<Channel>,
}

/// The state that the monitor's tasks share.
struct Watching {
    idem: Idem,
    service: String,
    dashboard: Option<Url>,
    policy: Policy,
    channels: Vec<Channel>,
    /// Held by the one monitor on this ledger that works.
    duty: Duty,
    /// The last time at which the ledger could be read.
    checked: Arc<Checked>,
    /// Notified when there may be something to send: a new notice, or the duty.
    stored: Notify,
}

impl Monitor {
    /// Creates a monitor without channels. `service` is the service's name in notices.
    pub fn new(idem: &Idem, service: impl Into<String>) -> Self {
        let (idem, service) = (idem.clone(), service.into());
        Self {
            idem,
            service,
            dashboard: None,
            policy: Policy::default(),
            channels: Vec::new(),
        }
    }

    /// Sets when notices are sent.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the dashboard's address for links, including the prefix that it is nested at, as in
    /// `https://orders.example.com/ops`.
    pub fn dashboard(mut self, url: Url) -> Self {
        self.dashboard = Some(url);
        self
    }

    /// Adds a channel for new letters.
    pub fn channel(self, alert: impl Alert + 'static) -> Self {
        self.add(Box::new(alert), false, Route::All)
    }

    /// Adds a channel for the new letters that a route takes.
    pub fn channel_for(self, route: Route, alert: impl Alert + 'static) -> Self {
        self.add(Box::new(alert), false, route)
    }

    /// Adds a channel for letters that stay open for too long. With one, the others no longer get
    /// those.
    pub fn escalation_channel(self, alert: impl Alert + 'static) -> Self {
        self.add(Box::new(alert), true, Route::All)
    }

    pub(crate) fn add(mut self, alert: Box<dyn Alert>, escalation: bool, route: Route) -> Self {
        self.channels.push(Channel::new(alert, escalation, route));
        self
    }

    /// Starts watching in tasks of the current tokio runtime. They end with [`Watch::stop`], or
    /// when the `Watch` is dropped.
    ///
    /// Letters that were written while no monitor ran are treated as new.
    ///
    /// # Errors
    /// [`SameName`], when two channels have one name: their stored notices could not be told apart.
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
            duty: Duty::new(&idem, "alerts"),
            checked: Checked::new(idem.instance(), idem.clock().now()),
            idem,
            service,
            dashboard,
            policy,
            channels,
            stored: Notify::new(),
        });
        let (end, ended) = watch::channel(());
        Ok(Watch {
            task: tokio::spawn(watching.run(ended)),
            end,
        })
    }

    /// Sends a test to every channel now and returns each channel's name and result.
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

/// An error: two channels have one name.
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
    /// Stops the monitor after the notices that are being sent now. Another monitor on this ledger
    /// sends the others.
    pub async fn stop(self) {
        drop(self.end);
        // tokio reported a panic of the task.
        let _ = self.task.await;
    }
}

/// Waits until no letter follows for a moment, so that the first notice of many says how many there
/// are by now.
async fn gather(new_letters: &mut (impl Stream<Item = DeadLetter> + Unpin)) {
    // A moment of the world, not of the ledger's clock: letters come as fast as they come.
    let clock = SystemClock;
    let mut longest = clock.sleep(GATHER);
    loop {
        tokio::select! {
            Some(_) = new_letters.next() => {}
            () = clock.sleep(QUIET) => return,
            () = &mut longest => break,
        }
    }
    while new_letters.next().now_or_never().flatten().is_some() {}
}

impl Watching {
    async fn run(self: Arc<Self>, mut ended: watch::Receiver<()>) {
        let senders = (0..self.channels.len()).map(|channel| {
            let (watching, ended) = (Arc::clone(&self), ended.clone());
            tokio::spawn(async move { watching.send_all(channel, ended).await })
        });
        let senders: Vec<_> = senders.collect();
        let (clock, mut new_letters) = (self.idem.clock(), self.idem.dead_letters().watch());
        let watching = async {
            let mut on_duty = None;
            loop {
                match self.look(&mut on_duty).await {
                    Ok(()) => self.checked.set(clock.now()),
                    Err(error) => tracing::warn!(
                        error = format_args!("{error:#}"),
                        "dead letters could not be read; the monitor tries again"
                    ),
                }
                tokio::select! {
                    // The sender is never used: an error is the end.
                    _ = ended.changed() => break,
                    // A hint only: the ledger has the letters.
                    Some(_) = new_letters.next() => tokio::select! {
                        _ = ended.changed() => break,
                        () = gather(&mut new_letters) => {}
                    },
                    () = clock.sleep(LOOK) => {}
                }
            }
            for sender in senders {
                let _ = sender.await;
            }
        };
        self.duty.during(watching).await;
        self.duty.release().await;
    }

    /// Stores the notices that are due and counts the notices that wait, if this monitor is on duty.
    async fn look(&self, on_duty: &mut Option<bool>) -> Result<(), LedgerError> {
        let guard = self.duty.hold().await?;
        let before = on_duty.replace(guard.is_some());
        let Some(guard) = guard else {
            if before != Some(false) {
                tracing::debug!(
                    "a monitor of another replica sends the alerts; this one stands by"
                );
                self.channels
                    .iter()
                    .for_each(|channel| metrics::waiting(channel.name(), 0));
            }
            return Ok(());
        };
        if before != Some(true) {
            // What the last one on duty left.
            self.stored.notify_waiters();
        }
        let digest = self.digest(&guard).await?;
        let escalation = self.escalate(&guard).await?;
        let pauses = self.tell_pauses(&guard).await?;
        if digest || escalation || pauses {
            self.stored.notify_waiters();
        }
        let notes = self.idem.notes();
        for channel in &self.channels {
            metrics::waiting(channel.name(), store::count(&notes, channel.name()).await?);
        }
        Ok(())
    }
}
