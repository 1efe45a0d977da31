//! What people are told, and the channels it goes through.

#[cfg(feature = "email")]
mod email;
mod error;
mod kind;
mod notice;
mod text;
#[cfg(feature = "webhook")]
pub mod webhook;

pub use idem_runtime::clock::BoxFuture;

#[cfg(feature = "email")]
pub use email::{Email, EmailBuilder, EmailConfigError, Protection};
pub use error::{AlertError, Retry};
pub use kind::kind_of_error;
pub use notice::{Brief, Group, Notice, NoticeKind};
#[cfg(feature = "webhook")]
pub use webhook::{Webhook, WebhookBuilder, WebhookConfigError};

/// A way to tell people.
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
    /// Names the channel in errors, metrics, logs and the dashboard; two channels of one service
    /// have two names.
    fn name(&self) -> &str;

    /// Tells people once. It ends within the channel's own timeout.
    ///
    /// It may be called again with the same notice: after an error, or after a crash between
    /// sending and recording. The notice's id is how a receiver knows a second copy.
    ///
    /// # Errors
    ///
    /// It could not be delivered, or nobody can tell whether it was.
    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), AlertError>>;
}
