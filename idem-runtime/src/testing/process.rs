//! A process without an Idem, to test a ledger alone.

use std::sync::Arc;
use std::time::Duration;

use crate::call::Claims;
use crate::call::wait::wait;
use crate::clock::Clock;
use crate::idem::background::{Background, BackgroundThread};
use crate::ledger::{Context, LedgerError};

/// A process with a background and without an Idem, which opens a ledger to test it alone. When it
/// is dropped, its background ends in the middle of what it does, as if the process was killed.
pub struct Process {
    thread: BackgroundThread,
    context: Context,
}

impl Process {
    /// Starts a process of this name, which no other one has.
    ///
    /// # Errors
    /// [`LedgerError::Other`] when the system refuses a thread.
    pub fn start(name: impl Into<Arc<str>>, clock: Arc<dyn Clock>) -> Result<Self, LedgerError> {
        let no_thread =
            |error: std::io::Error| LedgerError::Other(format!("no background thread: {error}"));
        let thread =
            BackgroundThread::start(tokio::runtime::Builder::enable_all).map_err(no_thread)?;
        let context = Context {
            background: Background::clone(thread.handle()),
            clock,
            instance: name.into(),
            claims: Claims::default(),
            wait: Duration::ZERO,
        };
        Ok(Self { thread, context })
    }

    /// Opens a ledger, and blocks until it is open.
    ///
    /// # Errors
    /// Those of `connect`.
    pub fn open<L: Send + 'static, F>(
        &self,
        connect: impl FnOnce(Context) -> F,
    ) -> Result<L, LedgerError>
    where
        F: Future<Output = Result<L, LedgerError>> + Send + 'static,
    {
        let opened = self.context.background.run(connect(self.context.clone()));
        wait(opened).and_then(|opened| opened)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.thread.stop_and_wait(Box::pin(async {}));
    }
}
