//! Ends a flush that waits for ever. When a write in its background fails, sled 0.34 notes the
//! error and wakes no one; the next flush sees it, and wakes all.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// A flush that takes longer is nudged, which does no harm on a slow disk.
const PATIENCE: Duration = Duration::from_secs(1);

/// A thread that flushes, too, when a flush takes long.
pub(super) struct Nudge {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    /// How many flushes have begun.
    begun: u64,
    is_flushing: bool,
    is_over: bool,
}

/// A flush that is watched.
pub(super) struct Watched<'a>(&'a Shared);

impl Nudge {
    pub(super) fn start(db: ::sled::Db) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("idem-nudge".to_owned())
            .spawn(move || theirs.watch(&db))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Watches a flush that begins now, until the guard is dropped.
    pub(super) fn watch(&self) -> Watched<'_> {
        let mut state = self.shared.state.lock();
        state.begun += 1;
        state.is_flushing = true;
        Watched(&self.shared)
    }

    /// Ends the thread, which lets go of sled then.
    pub(super) fn end(&mut self) {
        self.abandon();
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }

    /// Ends the thread without waiting for it.
    pub(super) fn abandon(&self) {
        self.shared.state.lock().is_over = true;
        self.shared.bell.notify_one();
    }
}

impl Shared {
    fn watch(&self, db: &::sled::Db) {
        let (mut state, mut seen) = (self.state.lock(), 0);
        while !state.is_over {
            self.bell.wait_for(&mut state, PATIENCE);
            if state.is_flushing && state.begun == seen {
                // Its error is the other flush's too.
                MutexGuard::unlocked(&mut state, || {
                    drop(catch_unwind(AssertUnwindSafe(|| db.flush())));
                });
            }
            seen = state.begun;
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.state.lock().is_flushing = false;
    }
}
