//! The least that makes a write durable for many callers at once: one thread, one write and one
//! `fdatasync` a group. It decides nothing and remembers nothing.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// A bare group commit.
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
    writes: Vec<(Pair, oneshot::Sender<()>)>,
    closed: bool,
}

/// A key and a value.
type Pair = (Vec<u8>, Vec<u8>);

#[expect(
    clippy::expect_used,
    reason = "a bench that cannot write measures nothing"
)]
impl Bare {
    /// On sled: one batch, one flush and one `fdatasync` a group.
    ///
    /// # Panics
    /// When the folder cannot be used: then there is nothing to measure.
    pub fn sled(folder: &Path, cache: u64) -> Self {
        let db = sled::Config::new()
            .path(folder)
            .cache_capacity(cache)
            .open()
            .expect("sled opens");
        let log = File::open(folder.join("db")).expect("sled's log is there");
        Self::over(move |pairs| {
            let mut batch = sled::Batch::default();
            pairs.for_each(|(key, value)| batch.insert(key, value));
            db.apply_batch(batch).expect("sled writes");
            db.flush().expect("sled flushes");
            log.sync_data().expect("the log syncs");
        })
    }

    /// On a file: 4 KiB appended and one `fdatasync` a group, whatever is in it. No ledger on this
    /// disk is faster.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn file(path: &Path) -> Self {
        let mut file = File::create(path).expect("the file opens");
        Self::over(move |_| {
            file.write_all(&[1; 4096]).expect("the file is written");
            file.sync_data().expect("the file syncs");
        })
    }

    /// On what this function writes durably: it gets a group at a time.
    pub fn over(mut write: impl FnMut(&mut dyn Iterator<Item = Pair>) + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            bell: Condvar::new(),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                while let Some(group) = shared.wait() {
                    let mut answers = Vec::with_capacity(group.len());
                    write(&mut group.into_iter().map(|(pair, answer)| {
                        answers.push(answer);
                        pair
                    }));
                    answers
                        .into_iter()
                        .for_each(|answer| answer.send(()).unwrap_or_default());
                }
            }
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// Writes one value, durably.
    pub async fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        let (done, answer) = oneshot::channel();
        self.shared.waiting.lock().writes.push(((key, value), done));
        self.shared.bell.notify_one();
        // The thread answers everything before it ends.
        let _ = answer.await;
    }
}

impl Shared {
    fn wait(&self) -> Option<Vec<(Pair, oneshot::Sender<()>)>> {
        let mut waiting = self.waiting.lock();
        while waiting.writes.is_empty() {
            if waiting.closed {
                return None;
            }
            self.bell.wait(&mut waiting);
        }
        Some(std::mem::take(&mut waiting.writes))
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
