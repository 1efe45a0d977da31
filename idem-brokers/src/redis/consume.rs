//! Reading a stream as one consumer of a group.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::streams::{StreamAutoClaimReply, StreamId, StreamPendingCountReply, StreamReadReply};
use ::redis::{RedisResult, cmd, from_redis_value};
use idem_runtime::{Origin, clock::BoxFuture};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::{ANSWER, ID, PAYLOAD, Redis, connect, failed};
use crate::delivery::{Delivery, Session};
use crate::error::BrokerError;

/// The longest wait for new entries in one command; a pause that ends meanwhile is over so much
/// later.
const BLOCK: Duration = Duration::from_millis(250);
/// Consumers are named anew at each start; those without entries that were not seen for an hour are
/// taken away, in one step, so that none gets an entry in between.
const SWEEP: &str = r"
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local of = {}
    for i = 1, #consumer, 2 do of[consumer[i]] = consumer[i + 1] end
    if of.pending == 0 and of.idle > 3600000 and string.sub(of.name, 1, 5) == 'idem-' then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of.name)
    end
end";

/// One consumer's connection.
pub struct Reader {
    /// Its commands wait in Redis, so nothing else goes through it.
    reading: MultiplexedConnection,
    shared: Arc<Shared>,
    /// A read that was asked for; it outlives the call that asked.
    asked: Option<BoxFuture<'static, RedisResult<Option<StreamReadReply>>>>,
    fetched: VecDeque<Entry>,
    /// Where the search for entries to claim goes on.
    cursor: String,
    broken: bool,
}

struct Shared {
    redis: Redis,
    /// New for each connection: what an earlier one left is claimed as that of any other.
    consumer: String,
    connection: MultiplexedConnection,
    /// When to look for entries to claim.
    claim_at: Mutex<Instant>,
}

impl Reader {
    pub(super) async fn open(redis: Redis) -> Result<Self, BrokerError> {
        let mut connection = connect(&redis.url, ANSWER).await?;
        let reading = connect(&redis.url, BLOCK + ANSWER).await?;
        let mut create = cmd("XGROUP");
        create
            .arg("CREATE")
            .arg(&redis.stream)
            .arg(&redis.group)
            .arg("0")
            .arg("MKSTREAM");
        match create.query_async::<()>(&mut connection).await {
            Err(error) if error.code() != Some("BUSYGROUP") => {
                return Err(failed("make the consumer group")(error));
            }
            _ => {}
        }
        // Only housekeeping, which a server may forbid.
        let mut sweep = cmd("EVAL");
        sweep.arg(SWEEP).arg(1).arg(&redis.stream).arg(&redis.group);
        let _: RedisResult<()> = sweep.query_async(&mut connection).await;
        let consumer = format!("idem-{}", Uuid::new_v4().simple());
        let shared = Arc::new(Shared {
            redis,
            consumer,
            connection,
            claim_at: Mutex::new(Instant::now()),
        });
        let (fetched, cursor) = (VecDeque::new(), "0-0".to_owned());
        Ok(Self {
            reading,
            shared,
            asked: None,
            fetched,
            cursor,
            broken: false,
        })
    }

    /// Entries whose consumer gave no sign of life, and those whose pause is over.
    async fn claim(&mut self, room: usize) -> RedisResult<()> {
        let Shared {
            redis,
            consumer,
            connection,
            claim_at,
        } = &*self.shared;
        let mut connection = connection.clone();
        // Set before the search, so that a pause that begins meanwhile is kept in mind.
        *claim_at.lock() =
            Instant::now() + (redis.claim_after / 4).clamp(Duration::from_millis(10), ANSWER);
        let mut claim = cmd("XAUTOCLAIM");
        claim
            .arg(&redis.stream)
            .arg(&redis.group)
            .arg(consumer)
            .arg(millis(redis.claim_after));
        claim.arg(&self.cursor).arg("COUNT").arg(room);
        let claimed: StreamAutoClaimReply = claim.query_async(&mut connection).await?;
        if claimed.next_stream_id != "0-0" {
            *claim_at.lock() = Instant::now();
        }
        self.cursor = claimed.next_stream_id;
        if let (Some(first), Some(last)) = (claimed.claimed.first(), claimed.claimed.last()) {
            let times = self.shared.times(&first.id, &last.id).await?;
            let entries = claimed.claimed.into_iter().map(|entry| {
                let before = times
                    .get(&entry.id)
                    .map_or(1, |times| times.saturating_sub(1));
                self.shared
                    .entry(entry, u32::try_from(before).unwrap_or(u32::MAX))
            });
            self.fetched.extend(entries.collect::<Vec<_>>());
        }
        Ok(())
    }

    async fn read(&mut self, room: usize) -> RedisResult<()> {
        let shared = Arc::clone(&self.shared);
        let asked = self.asked.get_or_insert_with(|| {
            let (redis, mut connection) = (&shared.redis, self.reading.clone());
            let block = shared
                .claim_at
                .lock()
                .saturating_duration_since(Instant::now())
                .min(BLOCK);
            let mut read = cmd("XREADGROUP");
            read.arg("GROUP")
                .arg(&redis.group)
                .arg(&shared.consumer)
                .arg("COUNT")
                .arg(room);
            read.arg("BLOCK")
                .arg(millis(block).max(1))
                .arg("STREAMS")
                .arg(&redis.stream)
                .arg(">");
            Box::pin(async move { read.query_async(&mut connection).await })
        });
        let read = asked.await;
        self.asked = None;
        let keys = read?.into_iter().flat_map(|reply| reply.keys);
        let entries = keys
            .flat_map(|key| key.ids)
            .map(|entry| self.shared.entry(entry, 0));
        self.fetched.extend(entries.collect::<Vec<_>>());
        Ok(())
    }

    async fn fetch(&mut self, room: usize) -> RedisResult<Entry> {
        loop {
            if let Some(entry) = self.fetched.pop_front() {
                return Ok(entry);
            }
            let due = *self.shared.claim_at.lock() <= Instant::now();
            // What a read that is under way brings fills the room already.
            if due && self.asked.is_none() {
                self.claim(room).await?
            } else {
                self.read(room).await?
            }
        }
    }
}

impl Session for Reader {
    type Delivery = Entry;

    async fn next(&mut self, room: usize) -> Result<Entry, BrokerError> {
        let fetched = self.fetch(room).await;
        self.broken |= fetched.is_err();
        fetched.map_err(failed("read the stream"))
    }

    async fn close(mut self) {
        if self.broken {
            // Entries that are still worked on must not go to others; those of a broken read become
            // idle.
            return;
        }
        if let Some(asked) = self.asked.take() {
            let _ = asked.await;
        }
        let given_back = async {
            for one in self.shared.pending("-", "+").await?.ids {
                self.shared
                    .idle(&one.id, self.shared.redis.claim_after)
                    .await?;
            }
            RedisResult::Ok(())
        };
        if let Err(error) = given_back.await {
            tracing::warn!(%error, "entries could not be given back to Redis; others take them when they are idle");
        }
    }
}

impl Shared {
    /// This consumer's pending entries.
    async fn pending(&self, first: &str, last: &str) -> RedisResult<StreamPendingCountReply> {
        let mut pending = cmd("XPENDING");
        pending
            .arg(&self.redis.stream)
            .arg(&self.redis.group)
            .arg(first)
            .arg(last)
            .arg(100_000);
        pending
            .arg(&self.consumer)
            .query_async(&mut self.connection.clone())
            .await
    }

    /// How often this consumer's entries were delivered.
    async fn times(&self, first: &str, last: &str) -> RedisResult<HashMap<String, usize>> {
        let pending = self.pending(first, last).await?;
        Ok(pending
            .ids
            .into_iter()
            .map(|one| (one.id, one.times_delivered))
            .collect())
    }

    /// Says how long nothing was heard of an entry: a pause is an entry that is claimed later. It
    /// does not count as a delivery, and does nothing to one that was acked.
    async fn idle(&self, id: &str, idle: Duration) -> RedisResult<()> {
        let mut claim = cmd("XCLAIM");
        claim
            .arg(&self.redis.stream)
            .arg(&self.redis.group)
            .arg(&self.consumer)
            .arg(0)
            .arg(id);
        claim
            .arg("IDLE")
            .arg(millis(idle))
            .arg("JUSTID")
            .query_async(&mut self.connection.clone())
            .await
    }

    fn entry(self: &Arc<Self>, entry: StreamId, before: u32) -> Entry {
        let mut fields: Vec<(String, Vec<u8>)> = entry
            .map
            .into_iter()
            .map(|(name, value)| (name, from_redis_value(value).unwrap_or_default()))
            .collect();
        // Redis has them in order, its client has not.
        fields.sort_unstable();
        let payload = match fields.iter().position(|(name, _)| name == PAYLOAD) {
            Some(at) => fields.remove(at).1,
            None => {
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                let object = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), text(value).into()));
                serde_json::Value::Object(object.collect())
                    .to_string()
                    .into_bytes()
            }
        };
        Entry {
            shared: Arc::clone(self),
            id: entry.id,
            payload,
            fields,
            before,
        }
    }
}

/// An entry of a stream.
pub struct Entry {
    shared: Arc<Shared>,
    id: String,
    payload: Vec<u8>,
    fields: Vec<(String, Vec<u8>)>,
    before: u32,
}

impl Delivery for Entry {
    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn origin(&self) -> Origin {
        let origin = Origin::new("redis", &*self.shared.redis.stream).position(&*self.id);
        self.fields.iter().fold(origin, |origin, (name, value)| {
            match (name.as_str(), std::str::from_utf8(value)) {
                (ID, Ok(id)) => origin.message_id(id),
                (name, _) => origin.header_bytes(name, value),
            }
        })
    }

    fn redelivered(&self) -> Option<u32> {
        Some(self.before)
    }

    async fn ack(self) -> Result<(), BrokerError> {
        let redis = &self.shared.redis;
        let mut both = ::redis::pipe();
        both.atomic()
            .cmd("XACK")
            .arg(&redis.stream)
            .arg(&redis.group)
            .arg(&self.id)
            .ignore();
        if redis.delete {
            both.cmd("XDEL").arg(&redis.stream).arg(&self.id).ignore();
        }
        both.query_async(&mut self.shared.connection.clone())
            .await
            .map_err(failed("ack an entry"))
    }

    async fn retry(self, after: Duration) -> Result<(), BrokerError> {
        // A pause longer than that comes in parts: the record says each time how much is left.
        let idle = self.shared.redis.claim_after.saturating_sub(after);
        self.shared
            .idle(&self.id, idle)
            .await
            .map_err(failed("give an entry back"))?;
        let due = Instant::now() + after;
        let mut claim_at = self.shared.claim_at.lock();
        *claim_at = due.min(*claim_at);
        Ok(())
    }

    fn progress_every(&self) -> Option<Duration> {
        Some(self.shared.redis.claim_after / 3)
    }

    async fn in_progress(&self) -> Result<(), BrokerError> {
        self.shared
            .idle(&self.id, Duration::ZERO)
            .await
            .map_err(failed("keep an entry"))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("redis", &self.shared.redis)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
