//! The least that makes a write durable for many callers at once: sled, one thread, one batch, one flush and one
//! `fdatasync` a group. It decides nothing and remembers nothing.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// A bare group commit on sled.
pub struct Bare {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Default)]
struct Waiting {
    writes: Vec<(Vec<u8>, Vec<u8>, oneshot::Sender<()>)>,
    closed: bool,
}

impl Bare {
    /// Opens one in a folder.
    ///
    /// # Panics
    /// When the folder cannot be used: then there is nothing to measure.
    #[expect(clippy::expect_used, reason = "a bench that cannot write measures nothing")]
    pub fn open(folder: &Path) -> Self {
        let db = sled::Config::new().path(folder).cache_capacity(256 << 20).open().expect("sled opens");
        let log = File::open(folder.join("db")).expect("sled's log is there");
        let shared = Arc::new(Shared { waiting: Mutex::default(), bell: Condvar::new() });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                loop {
                    let mut waiting = shared.waiting.lock();
                    while waiting.writes.is_empty() {
                        if waiting.closed {
                            return;
                        }
                        shared.bell.wait(&mut waiting);
                    }
                    let writes = std::mem::take(&mut waiting.writes);
                    drop(waiting);
                    let mut batch = sled::Batch::default();
                    let mut done = Vec::with_capacity(writes.len());
                    for (key, value, answer) in writes {
                        batch.insert(key, value);
                        done.push(answer);
                    }
                    db.apply_batch(batch).expect("sled writes");
                    db.flush().expect("sled flushes");
                    log.sync_data().expect("the log syncs");
                    done.into_iter().for_each(|answer| answer.send(()).unwrap_or_default());
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// Writes one value, durably.
    pub async fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        let (done, answer) = oneshot::channel();
        self.shared.waiting.lock().writes.push((key, value, done));
        self.shared.bell.notify_one();
        // The thread answers everything before it ends.
        let _ = answer.await;
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.shared.waiting.lock().closed = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed already.
            let _ = thread.join();
        }
    }
}
