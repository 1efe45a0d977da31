//! Hints between processes: which rows are waited for, and which of those have changed.
//!
//! A process whose calls wait says so on a channel of the database, and the others say there when they
//! have changed such a row: after the commit, on a connection of their own, several in one message.
//! `NOTIFY` in the write itself would make every commit of the database wait for its turn. A hint may
//! be lost; the shared ledger polls too.

use std::collections::HashMap;
use std::mem;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use idem_runtime::ledger::shared::Write;
use idem_runtime::protocol::RecordId;
use parking_lot::Mutex;
use sqlx::postgres::{PgListener, PgPool};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout};

use crate::link::close;
use crate::names::row_id;

type Hash = [u8; 20];

/// How long others are told of a row that is waited for, after it was said.
const ANNOUNCED: Duration = Duration::from_secs(30);
/// How soon it is said again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long messages are collected.
const COLLECTING: Duration = Duration::from_millis(5);
/// How often a message to itself tests the way, and how long that may take.
const TEST: Duration = Duration::from_secs(30);
const TESTING: Duration = Duration::from_secs(5);
/// The pause after a test that failed.
const PAUSE: Duration = Duration::from_secs(60);
/// A payload may have 8,000 bytes.
const HASHES_A_MESSAGE: usize = 190;

#[derive(Debug)]
pub(crate) struct Feed {
    /// The listener's connection, unless hints cannot pass.
    pool: Option<PgPool>,
    channel: String,
    /// The name of this process in messages.
    own: String,
    said: Mutex<Said>,
    bell: Notify,
    listener: tokio::sync::Mutex<Option<PgListener>>,
    /// Where it listens.
    runtime: OnceLock<Handle>,
}

/// What was said, and what is to be.
#[derive(Debug, Default)]
struct Said {
    /// The rows that calls of this process wait for, and when that was said last.
    ours: HashMap<Hash, (RecordId, Instant), RandomState>,
    /// The rows that other processes wait for, and when they said it last.
    theirs: HashMap<Hash, Instant, RandomState>,
    waits: Vec<Hash>,
    changes: Vec<Hash>,
}

impl Feed {
    pub(crate) fn new(pool: Option<PgPool>, channel: &str) -> Self {
        Self {
            pool,
            channel: channel.to_owned(),
            own: format!("{:016x}", fastrand::u64(..)),
            said: Mutex::default(),
            bell: Notify::new(),
            listener: tokio::sync::Mutex::default(),
            runtime: OnceLock::new(),
        }
    }

    /// Says that calls of this process wait for a row.
    pub(crate) fn watch(&self, id: &RecordId) {
        if self.pool.is_none() {
            return;
        }
        let (mut said, hash, now) = (self.said.lock(), row_id(id), Instant::now());
        let last = said.ours.get(&hash).map(|(_, last)| *last);
        if last.is_none_or(|last| now.duration_since(last) >= AGAIN) {
            said.ours.insert(hash, (id.clone(), now));
            said.waits.push(hash);
            self.bell.notify_one();
        }
    }

    /// Says that rows were changed, to those who wait for them.
    pub(crate) fn wrote<'w>(&self, writes: impl Iterator<Item = &'w Write>) {
        let mut said = self.said.lock();
        if said.theirs.is_empty() {
            return;
        }
        for write in writes.filter(|write| write.owner.is_none()) {
            let hash = row_id(&write.id);
            if said.theirs.remove(&hash).is_some() {
                said.changes.push(hash);
                self.bell.notify_one();
            }
        }
    }

    /// Waits until other processes say that rows have changed which calls of this one wait for.
    pub(crate) async fn changed(&self) -> Vec<RecordId> {
        let Some(pool) = &self.pool else {
            return std::future::pending().await;
        };
        let mut listener = self.listener.lock().await;
        loop {
            let heard = match &mut *listener {
                Some(listener) => self.hear(listener).await,
                None => self.listen(pool).await.map(|new| {
                    *listener = Some(new);
                    Vec::new()
                }),
            };
            match heard {
                Ok(changed) if changed.is_empty() => {}
                Ok(changed) => return changed,
                Err(_) if pool.is_closed() => {
                    *listener = None;
                    return std::future::pending().await;
                }
                Err(error) => {
                    tracing::debug!("no hints between processes for a while: {error}");
                    *listener = None;
                    sleep(PAUSE.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                }
            }
        }
    }

    pub(crate) async fn close(&self) {
        if let Some(pool) = &self.pool {
            close(pool).await;
        }
    }

    /// Listens, and tests whether messages arrive: through some poolers they do not.
    async fn listen(&self, pool: &PgPool) -> sqlx::Result<PgListener> {
        let _ = self.runtime.set(Handle::current());
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(&self.channel).await?;
        self.test(&mut listener).await?;
        // What was said meanwhile may have been missed.
        let mut said = self.said.lock();
        said.waits = said.ours.keys().copied().collect();
        Ok(listener)
    }

    /// Waits for a message, and sends what there is to say meanwhile.
    async fn hear(&self, listener: &mut PgListener) -> sqlx::Result<Vec<RecordId>> {
        let test = tokio::time::Instant::now() + TEST;
        loop {
            tokio::select! {
                message = listener.try_recv() => {
                    let message = message?.ok_or(sqlx::Error::WorkerCrashed)?;
                    let changed = self.heard(message.payload());
                    if !changed.is_empty() {
                        return Ok(changed);
                    }
                }
                () = self.bell.notified() => {
                    sleep(COLLECTING).await;
                    self.send(listener).await?;
                }
                () = sleep_until(test) => {
                    self.said.lock().forget_old();
                    self.test(listener).await?;
                    return Ok(Vec::new());
                }
            }
        }
    }

    async fn test(&self, listener: &mut PgListener) -> sqlx::Result<()> {
        let own = format!("{} test", self.own);
        self.notify(listener, vec![own.clone()]).await?;
        let arrived = async {
            loop {
                let message = listener.recv().await?;
                if message.payload() == own {
                    return Ok(());
                }
                // A row that changed meanwhile is seen by the poll.
                self.heard(message.payload());
            }
        };
        timeout(TESTING, arrived)
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
    }

    async fn send(&self, listener: &mut PgListener) -> sqlx::Result<()> {
        let (waits, changes) = {
            let mut said = self.said.lock();
            (mem::take(&mut said.waits), mem::take(&mut said.changes))
        };
        let mut messages = Vec::new();
        for (kind, hashes) in [("waits", waits), ("changed", changes)] {
            for hashes in hashes.chunks(HASHES_A_MESSAGE) {
                let mut message = format!("{} {kind}", self.own);
                for hash in hashes {
                    message.push(' ');
                    hash.iter()
                        .for_each(|byte| message += &format!("{byte:02x}"));
                }
                messages.push(message);
            }
        }
        if messages.is_empty() {
            return Ok(());
        }
        self.notify(listener, messages).await
    }

    async fn notify(&self, listener: &mut PgListener, messages: Vec<String>) -> sqlx::Result<()> {
        sqlx::query("SELECT pg_notify($1, message) FROM unnest($2::text[]) AS message")
            .bind(&self.channel)
            .bind(messages)
            .execute(listener)
            .await
            .map(drop)
    }

    /// Notes what another process said, and returns the rows of ours that it changed.
    fn heard(&self, message: &str) -> Vec<RecordId> {
        let mut words = message.split(' ');
        let (from, kind) = (words.next(), words.next());
        if from == Some(&self.own) {
            return Vec::new();
        }
        let (mut said, now) = (self.said.lock(), Instant::now());
        let hashes = words.filter_map(hash);
        match kind {
            Some("waits") => {
                said.theirs.extend(hashes.map(|hash| (hash, now)));
                Vec::new()
            }
            Some("changed") => {
                let ours = hashes.filter_map(|hash| said.ours.remove(&hash));
                ours.map(|(id, _)| id).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // A listener panics where it is dropped without a runtime.
        let _there = self.runtime.get().map(Handle::enter);
        *self.listener.get_mut() = None;
    }
}

impl Said {
    fn forget_old(&mut self) {
        self.theirs.retain(|_, said| said.elapsed() < ANNOUNCED);
        self.ours.retain(|_, (_, said)| said.elapsed() < ANNOUNCED);
    }
}

fn hash(hex: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if hex.len() != 2 * hash.len() || !hex.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}
