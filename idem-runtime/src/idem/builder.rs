//! The options an Idem is opened with.

use std::future::Future;
use std::panic::AssertUnwindSafe;
#[cfg(feature = "__folder")]
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

#[cfg(feature = "__folder")]
use crate::call::wait::wait;
use crate::call::{Claims, panic};
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::idem::Idem;
use crate::idem::background::BackgroundThread;
use crate::idem::shared::{Limits, Shared};
use crate::ledger::{Context, Ledger, LedgerError};
#[cfg(feature = "__folder")]
use crate::ledger::{Engine, once_free};
use crate::metrics;
use crate::pause::PauseRules;
use crate::seal::SealKeys;

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
    #[cfg(feature = "__folder")]
    cache_bytes: Option<u64>,
    #[cfg(feature = "__folder")]
    engine: Engine,
    clock: Option<Arc<dyn Clock>>,
    pause: PauseRules,
    wait: Duration,
    seal: Option<SealKeys>,
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
    #[cfg(feature = "__folder")]
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

    /// Sets when a handler [pauses](crate::pause) by itself: each handler has its own pause, and all
    /// have these rules.
    pub fn pause(mut self, rules: PauseRules) -> Self {
        self.pause = rules;
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
    #[cfg(feature = "__folder")]
    pub fn cache(mut self, bytes: u64) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    /// Sets the storage engine of the embedded ledger (default: [`Engine::Sled`]).
    #[cfg(feature = "__folder")]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Sets the clock, for tests (default: the system's).
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets how long the opening waits for what another process may free, or bring back (default:
    /// zero): an embedded ledger for its folder, which the process before still holds in a deploy,
    /// and a ledger of [`open_with`](Self::open_with) that heeds [`Context::wait`] for its server.
    /// The error afterwards is that of an opening that does not wait.
    ///
    /// [`open`](Self::open) blocks its thread while it waits. A signal ends the process then, unless
    /// the program handles it: install handlers later, or wait in `spawn_blocking` beside them.
    pub fn wait_for(mut self, longest: Duration) -> Self {
        self.wait = longest;
        self
    }

    /// Seals what handlers redact with these keys, so that their dead letters can be run and
    /// published again (default: what is redacted is not stored).
    pub fn seal(mut self, keys: SealKeys) -> Self {
        self.seal = Some(keys);
        self
    }

    /// Opens the embedded ledger in a folder, which is created if needed.
    ///
    /// # Errors
    /// As [`Idem::open`].
    #[cfg(feature = "__folder")]
    pub fn open(self, path: impl AsRef<Path>) -> Result<Idem, Error> {
        metrics::describe_metrics();
        let thread = thread(tokio::runtime::Builder::enable_time)?;
        let context = Context {
            background: thread.handle().clone(),
            clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            instance: instance().into(),
            claims: Claims::default(),
            wait: self.wait,
        };
        let ledger = open_folder(
            self.engine,
            path.as_ref(),
            self.cache_bytes.unwrap_or(128 << 20),
            &context,
        )?;
        let shared = Shared::new(
            ledger,
            context.clock,
            self.limits,
            self.seal,
            context.instance,
            context.claims,
            self.pause,
        );
        wait(shared.recover())?;
        Ok(Idem::start(Arc::new(shared), thread))
    }

    /// Opens an Idem on another kind of ledger, which is closed with it.
    ///
    /// `connect` opens the ledger. Its future runs on idem's own thread, which goes on polling
    /// whatever connections it makes; `Context` has a handle to that thread, the clock, and the
    /// instance's name.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use idem_runtime::{Idem, testing::MemoryLedger};
    /// let idem = Idem::builder()
    ///     .open_with(|context| async move { Ok(MemoryLedger::new(context.clock)) })
    ///     .await?;
    /// # idem.close().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Ledger`] when the ledger cannot be opened or swept.
    pub async fn open_with<L, F>(self, connect: impl FnOnce(Context) -> F) -> Result<Idem, Error>
    where
        L: Ledger,
        F: Future<Output = Result<L, LedgerError>> + Send + 'static,
    {
        metrics::describe_metrics();
        let thread = thread(tokio::runtime::Builder::enable_all)?;
        let context = Context {
            background: thread.handle().clone(),
            clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            instance: instance().into(),
            claims: Claims::default(),
            wait: self.wait,
        };
        let connecting = connect(context.clone());
        let opening = async move {
            let Context {
                clock,
                instance,
                claims,
                ..
            } = context;
            let ledger = Arc::new(connecting.await?);
            let shared = Shared::new(
                ledger,
                clock,
                self.limits,
                self.seal,
                instance,
                claims,
                self.pause,
            );
            shared.recover().await?;
            Ok::<_, LedgerError>(Arc::new(shared))
        };
        let opening = AssertUnwindSafe(opening).catch_unwind();
        match thread.handle().run(opening).await? {
            Ok(opened) => Ok(Idem::start(opened?, thread)),
            Err(caught) => {
                let panic = panic::text(&*caught);
                Err(LedgerError::Other(format!("opening the ledger panicked: {panic}")).into())
            }
        }
    }
}

/// Opens the embedded ledger in a folder.
#[cfg(feature = "__folder")]
fn open_folder(
    engine: Engine,
    path: &Path,
    cache_bytes: u64,
    context: &Context,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    match engine {
        #[cfg(feature = "sled")]
        Engine::Sled => {
            let open = || {
                let (clock, instance) = (Arc::clone(&context.clock), context.instance.to_string());
                crate::ledger::SledLedger::open(path, cache_bytes, clock, instance)
            };
            Ok(Arc::new(once_free(context.wait, open)?))
        }
        #[cfg(feature = "fjall")]
        Engine::Fjall => {
            let open = || {
                let clock = Arc::clone(&context.clock);
                crate::ledger::FjallStore::open(path, cache_bytes, clock)
            };
            let store = once_free(context.wait, open)?;
            let ledger = crate::ledger::FjallLedger::open(store, context.clone());
            Ok(Arc::new(wait(ledger)?))
        }
        #[cfg(not(all(feature = "sled", feature = "fjall")))]
        other => Err(other.is_not_built()),
    }
}

fn thread(
    enable: fn(&mut tokio::runtime::Builder) -> &mut tokio::runtime::Builder,
) -> Result<BackgroundThread, LedgerError> {
    BackgroundThread::start(enable)
        .map_err(|error| LedgerError::Other(format!("no background thread: {error}")))
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
