//! Hints between processes: the scripts publish which rows they changed, and a process picks those that
//! its calls wait for. A hint may be lost; the shared ledger polls too.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use futures_util::StreamExt;
use idem_runtime::ledger::shared::StoreError;
use idem_runtime::protocol::RecordId;
use parking_lot::Mutex;
use redis::aio::PubSub;
use tokio::time::{sleep, timeout};

use crate::error::of_request;
use crate::link::Link;
use crate::row::row_id;

/// How long a row counts as waited for, after it was said.
const WAITED_FOR: Duration = Duration::from_secs(30);
/// How long a connection may be silent before it is made anew: it may have broken unheard.
const SILENT: Duration = Duration::from_secs(60);
/// The pause before another connection is made.
const PAUSE: Duration = Duration::from_secs(2);

type Hash = [u8; 20];

#[derive(Debug)]
pub(crate) struct Feed {
    link: Link,
    channel: String,
    /// The rows that calls of this process wait for, and when that was said last.
    waited_for: Mutex<HashMap<Hash, (RecordId, Instant), RandomState>>,
    listener: tokio::sync::Mutex<Option<Listener>>,
}

struct Listener(PubSub);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

impl Feed {
    pub(crate) fn new(link: Link, tag: &str) -> Self {
        Self {
            link,
            channel: format!("{tag}w"),
            waited_for: Mutex::default(),
            listener: tokio::sync::Mutex::default(),
        }
    }

    /// Says that calls of this process wait for a row.
    pub(crate) fn watch(&self, id: &RecordId) {
        let now = Instant::now();
        let mut waited_for = self.waited_for.lock();
        waited_for.insert(row_id(id), (id.clone(), now));
    }

    /// Waits until other processes say that rows have changed which calls of this one wait for.
    pub(crate) async fn changed(&self, own: impl Fn() -> String) -> Vec<RecordId> {
        let mut listener = self.listener.lock().await;
        loop {
            let heard = match &mut *listener {
                Some(Listener(connection)) => self.hear(connection, &own).await,
                None => self.listen().await.map(|connection| {
                    *listener = Some(Listener(connection));
                    Some(Vec::new())
                }),
            };
            match heard {
                Ok(Some(changed)) if changed.is_empty() => {}
                Ok(Some(changed)) => return changed,
                Ok(None) => *listener = None,
                Err(error) => {
                    tracing::debug!("no hints between processes for a while: {error:#}");
                    *listener = None;
                    sleep(PAUSE.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                }
            }
        }
    }

    async fn listen(&self) -> Result<PubSub, StoreError> {
        let mut connection = self.link.listen().await?;
        connection
            .subscribe(&self.channel)
            .await
            .map_err(of_request)?;
        Ok(connection)
    }

    /// Waits for one message. Returns `None` if the connection is at its end.
    async fn hear(
        &self,
        connection: &mut PubSub,
        own: &impl Fn() -> String,
    ) -> Result<Option<Vec<RecordId>>, StoreError> {
        let message = timeout(SILENT, connection.on_message().next()).await;
        self.forget_old();
        let Ok(Some(message)) = message else {
            return Ok(None);
        };
        let payload = message.get_payload_bytes();
        let Some((by, rows)) = payload.split_at_checked(16) else {
            return Ok(Some(Vec::new()));
        };
        if by == own().as_bytes() {
            return Ok(Some(Vec::new()));
        }
        let mut waited_for = self.waited_for.lock();
        let changed = rows.as_chunks().0.iter().filter_map(|hash| {
            let (id, _) = waited_for.remove(hash)?;
            Some(id)
        });
        Ok(Some(changed.collect()))
    }

    fn forget_old(&self) {
        let mut waited_for = self.waited_for.lock();
        waited_for.retain(|_, (_, said)| said.elapsed() < WAITED_FOR);
    }
}
