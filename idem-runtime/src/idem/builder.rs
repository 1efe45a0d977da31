//! The choices an Idem is opened with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::call::wait::wait;
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::idem::Idem;
use crate::idem::background::Background;
use crate::idem::shared::{Limits, Shared};
use crate::ledger::{Ledger, LedgerError, SledLedger};
use crate::metrics;

/// The limits and other choices of an [`Idem`]; every one has a default.
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
    cache_bytes: Option<u64>,
    clock: Option<Arc<dyn Clock>>,
}

impl Idem {
    /// Opens the embedded ledger in a folder, or makes one there.
    ///
    /// Messages of a process that died are settled first: those whose budget is spent are dead
    /// letters when this returns.
    ///
    /// # Errors
    /// [`Error::Ledger`], which says what is wrong with the folder: held by another process, not writable, full,
    /// damaged, or with fewer records than were acknowledged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(path)
    }

    /// The limits and other choices, to be followed by `open`.
    pub fn builder() -> IdemBuilder {
        IdemBuilder::default()
    }
}

impl IdemBuilder {
    /// The largest payload, in bytes of JSON; 1 MiB unless said. A larger one is
    /// [`Error::PayloadTooLarge`].
    pub fn payload_limit(mut self, bytes: usize) -> Self {
        self.limits.payload = bytes;
        self
    }

    /// The largest result to keep, in bytes of JSON; 16 MiB unless said. A larger one goes to its
    /// own caller only, and duplicates get [`Error::ResultTooLarge`].
    pub fn result_limit(mut self, bytes: usize) -> Self {
        self.limits.result = bytes;
        self
    }

    /// How long redriven and discarded letters are kept as history; 30 days unless said.
    pub fn letter_retention(mut self, retention: Duration) -> Self {
        self.limits.letter_retention = retention;
        self
    }

    /// How long [`Idem::close`] waits for running calls; 30 seconds unless said.
    pub fn close_deadline(mut self, deadline: Duration) -> Self {
        self.limits.close_deadline = deadline;
        self
    }

    /// How much memory the embedded ledger may use for its cache, in bytes; 128 MiB unless said:
    /// with five million results the process then takes about 310 MiB (`cargo xtask bench --bench
    /// growth`).
    pub fn cache(mut self, bytes: u64) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    /// A clock in place of the system's, for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Opens the embedded ledger in a folder, or makes one there.
    ///
    /// # Errors
    /// As [`Idem::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Idem, Error> {
        let cache_bytes = self.cache_bytes.unwrap_or(128 << 20);
        self.start(|clock, instance| {
            let ledger = SledLedger::open(path.as_ref(), cache_bytes, clock, instance)?;
            Ok(Arc::new(ledger))
        })
    }

    /// Uses a ledger of another kind. It is closed with the Idem.
    ///
    /// # Errors
    /// [`Error::Ledger`] when it cannot be swept.
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
                // tokio panics when a runtime is dropped inside another one, which is where most
                // people call `open`.
                runtime.shutdown_background();
                Err(error.into())
            }
        }
    }
}

/// A name for this running instance: host, process, and a random part, for ids are used again.
fn instance() -> String {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!("{host}/{}/{:08x}", std::process::id(), fastrand::u32(..))
}
