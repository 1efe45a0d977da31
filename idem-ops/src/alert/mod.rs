//! Notices of dead letters and paused handlers, and the channels that send them.

#[cfg(feature = "email")]
mod email;
mod error;
mod kind;
mod notice;
mod paused;
mod text;
#[cfg(feature = "webhook")]
pub mod webhook;

pub use idem_runtime::clock::BoxFuture;

#[cfg(feature = "email")]
pub use email::{Email, EmailBuilder, EmailConfigError, Protection};
pub use error::{AlertError, Retry};
pub use kind::kind_of_error;
pub use notice::{Brief, Group, Notice, NoticeKind};
pub use paused::PausedHandler;
#[cfg(feature = "webhook")]
pub use webhook::{Webhook, WebhookBuilder, WebhookConfigError};

/// A channel that sends notices to people.
///
/// # Example
///
/// ```
/// use idem_ops::alert::{Alert, AlertError, BoxFuture, Notice};
///
/// struct Terminal;
///
/// impl Alert for Terminal {
///     fn name(&self) -> &str {
///         "terminal"
///     }
///
///     fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>> {
///         Box::pin(async move {
///             println!("{}\n\n{}", notice.subject(), notice.text());
///             Ok(())
///         })
///     }
/// }
/// ```
pub trait Alert: Send + Sync {
    /// Returns the channel's name in errors, metrics, logs and the dashboard. It must be unique in a
    /// monitor.
    fn name(&self) -> &str;

    /// Sends the notice once, within the channel's own timeout.
    ///
    /// It may be called again with the same notice: after an error, or after a crash between
    /// sending and recording. A receiver knows a second copy by the notice's id.
    ///
    /// # Errors
    ///
    /// [`AlertError`], when it was not delivered, or may not have been.
    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>>;
}
