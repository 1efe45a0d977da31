//! The options an Idem is opened with.

#[cfg(feature = "sled")]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::call::wait::wait;
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::idem::Idem;
use crate::idem::background::Background;
use crate::idem::shared::{Limits, Shared};
#[cfg(feature = "sled")]
use crate::ledger::SledLedger;
use crate::ledger::{Ledger, LedgerError};
use crate::metrics;

/// The options of an [`Idem`]; each has a default.
///
/// ```no_run
/// # fn main() -> Result<(), idem_runtime::Error> {
/// use std::time::Duration;
/// let idem = idem_runtime::Idem::builder()
///     .payload_limit(256 << 10)
///     .close_deadline(Duration::from_secs(10))
///     .open("./data")?;
/// # Ok(()) }
/// ```
#[must_use]
#[derive(Default)]
pub struct IdemBuilder {
    limits: Limits,
    #[cfg(feature = "sled")]
    cache_bytes: Option<u64>,
    clock: Option<Arc<dyn Clock>>,
}

impl Idem {
    /// Opens the embedded ledger in a folder, which is created if needed.
    ///
    /// Messages that a dead process left are recovered first: those whose budget is spent are dead
    /// letters when this returns.
    ///
    /// # Errors
    /// [`Error::Ledger`], which says what is wrong with the folder: it is open in another process,
    /// not writable, full, damaged, or has fewer records than were acknowledged.
    #[cfg(feature = "sled")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(path)
    }

    /// Returns a builder with the default options; its `open` makes the Idem.
    pub fn builder() -> IdemBuilder {
        IdemBuilder::default()
    }
}

impl IdemBuilder {
    /// Sets the largest payload, in bytes of JSON (default: 1 MiB). A larger one is
    /// [`Error::PayloadTooLarge`].
    pub fn payload_limit(mut self, bytes: usize) -> Self {
        self.limits.payload = bytes;
        self
    }

    /// Sets the largest result to keep, in bytes of JSON (default: 16 MiB). A larger one goes only
    /// to its own caller, and duplicates get [`Error::ResultTooLarge`].
    pub fn result_limit(mut self, bytes: usize) -> Self {
        self.limits.result = bytes;
        self
    }

    /// Sets how long redriven and discarded letters are kept as history (default: 30 days).
    pub fn letter_retention(mut self, retention: Duration) -> Self {
        self.limits.letter_retention = retention;
        self
    }

    /// Sets how long [`Idem::close`] waits for running calls (default: 30 seconds).
    pub fn close_deadline(mut self, deadline: Duration) -> Self {
        self.limits.close_deadline = deadline;
        self
    }

    /// Sets the size of the embedded ledger's cache, in bytes (default: 128 MiB). With the default
    /// and five million results, the process takes about 310 MiB (`cargo xtask bench --bench
    /// growth`).
    #[cfg(feature = "sled")]
    pub fn cache(mut self, bytes: u64) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    /// Sets the clock, for tests (default: the system's).
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Opens the embedded ledger in a folder, which is created if needed.
    ///
    /// # Errors
    /// As [`Idem::open`].
    #[cfg(feature = "sled")]
    pub fn open(self, path: impl AsRef<Path>) -> Result<Idem, Error> {
        let cache_bytes = self.cache_bytes.unwrap_or(128 << 20);
        self.start(|clock, instance| {
            let ledger = SledLedger::open(path.as_ref(), cache_bytes, clock, instance)?;
            Ok(Arc::new(ledger))
        })
    }

    /// Opens an Idem on another kind of ledger, which is closed with it.
    ///
    /// # Errors
    /// [`Error::Ledger`] when the ledger cannot be swept.
    pub fn open_with(self, ledger: Arc<dyn Ledger>) -> Result<Idem, Error> {
        self.start(|_, _| Ok(ledger))
    }

    fn start(
        self,
        open: impl FnOnce(Arc<dyn Clock>, String) -> Result<Arc<dyn Ledger>, LedgerError>,
    ) -> Result<Idem, Error> {
        metrics::describe_metrics();
        let no_thread =
            |error: std::io::Error| LedgerError::Other(format!("no background thread: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(no_thread)?;
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let instance = instance();
        let opened = open(Arc::clone(&clock), instance.clone()).and_then(|ledger| {
            let shared = Arc::new(Shared::new(ledger, clock, self.limits, instance.into()));
            wait(shared.recover())?;
            Ok(shared)
        });
        match opened {
            Ok(shared) => {
                let background =
                    Background::start(runtime, Arc::clone(&shared)).map_err(no_thread)?;
                Ok(Idem::start(shared, background))
            }
            Err(error) => {
                // tokio panics when a runtime is dropped inside another one, and `open` is mostly
                // called inside one.
                runtime.shutdown_background();
                Err(error.into())
            }
        }
    }
}

/// Returns a name for this instance: host, process id, and a random part, because process ids are
/// reused.
fn instance() -> String {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!("{host}/{}/{:08x}", std::process::id(), fastrand::u32(..))
}
