//! Consuming a stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};
use ::redis::{RedisResult, cmd, from_redis_value};
use idem_runtime::{Origin, clock::BoxFuture};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::Redis;
use super::connection::{ID, PATIENCE, PAYLOAD, connect, failed};
use super::member::{Member, millis};
use crate::error::BrokerError;

/// The longest wait for new entries in one command. A pause that ends meanwhile is longer by as
/// much.
const BLOCK: Duration = Duration::from_millis(250);
/// Deletes consumers without entries that were idle for an hour: each connection has a new one. It
/// is one script, so that a consumer does not get an entry in between.
const SWEEP: &str = r"
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local info = {}
    for i = 1, #consumer, 2 do info[consumer[i]] = consumer[i + 1] end
    if info.pending == 0 and info.idle > 3600000 and string.sub(info.name, 1, 5) == 'idem-' then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], info.name)
    end
end";

/// A consumer's connection.
pub struct Session {
    /// Used for reads only, because they block it.
    reading: MultiplexedConnection,
    member: Arc<Member>,
    /// A read in progress, which outlives the call of `next` that started it.
    pending_read: Option<BoxFuture<'static, RedisResult<Option<StreamReadReply>>>>,
    fetched: VecDeque<Delivery>,
    /// Where the search for entries to claim continues.
    cursor: String,
    broken: bool,
}

impl Session {
    pub(super) async fn open(redis: Redis) -> Result<Self, BrokerError> {
        let mut connection = connect(&redis.url, PATIENCE).await?;
        let reading = connect(&redis.url, BLOCK + PATIENCE).await?;
        let mut create = cmd("XGROUP");
        create
            .arg("CREATE")
            .arg(&redis.stream)
            .arg(&redis.group)
            .arg("0")
            .arg("MKSTREAM");
        match create.query_async::<()>(&mut connection).await {
            Err(error) if error.code() != Some("BUSYGROUP") => {
                return Err(failed("create the consumer group")(error));
            }
            _ => {}
        }
        // Housekeeping, which a server may forbid.
        let mut sweep = cmd("EVAL");
        sweep.arg(SWEEP).arg(1).arg(&redis.stream).arg(&redis.group);
        let _: RedisResult<()> = sweep.query_async(&mut connection).await;
        let consumer = format!("idem-{}", Uuid::new_v4().simple());
        let member = Arc::new(Member {
            redis,
            consumer,
            connection,
            claim_at: Mutex::new(Instant::now()),
        });
        let (fetched, cursor) = (VecDeque::new(), "0-0".to_owned());
        Ok(Self {
            reading,
            member,
            pending_read: None,
            fetched,
            cursor,
            broken: false,
        })
    }

    /// Claims entries whose consumer gave no sign of life, and those whose pause is over.
    async fn claim(&mut self, room: usize) -> RedisResult<()> {
        let Member {
            redis,
            consumer,
            connection,
            claim_at,
        } = &*self.member;
        let mut connection = connection.clone();
        // Set before the search, so that a pause that begins meanwhile is not lost.
        *claim_at.lock() =
            Instant::now() + (redis.claim_after / 4).clamp(Duration::from_millis(10), PATIENCE);
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
            let times = self.member.times(&first.id, &last.id).await?;
            let entries = claimed.claimed.into_iter().map(|entry| {
                let before = times
                    .get(&entry.id)
                    .map_or(1, |times| times.saturating_sub(1));
                Delivery::new(
                    &self.member,
                    entry,
                    u32::try_from(before).unwrap_or(u32::MAX),
                )
            });
            self.fetched.extend(entries.collect::<Vec<_>>());
        }
        Ok(())
    }

    async fn read(&mut self, room: usize) -> RedisResult<()> {
        let member = Arc::clone(&self.member);
        let pending_read = self.pending_read.get_or_insert_with(|| {
            let (redis, mut connection) = (&member.redis, self.reading.clone());
            let block = member
                .claim_at
                .lock()
                .saturating_duration_since(Instant::now())
                .min(BLOCK);
            let mut read = cmd("XREADGROUP");
            read.arg("GROUP")
                .arg(&redis.group)
                .arg(&member.consumer)
                .arg("COUNT")
                .arg(room);
            read.arg("BLOCK")
                .arg(millis(block).max(1))
                .arg("STREAMS")
                .arg(&redis.stream)
                .arg(">");
            Box::pin(async move { read.query_async(&mut connection).await })
        });
        let read = pending_read.await;
        self.pending_read = None;
        let keys = read?.into_iter().flat_map(|reply| reply.keys);
        let entries = keys
            .flat_map(|key| key.ids)
            .map(|entry| Delivery::new(&self.member, entry, 0));
        self.fetched.extend(entries.collect::<Vec<_>>());
        Ok(())
    }

    async fn fetch(&mut self, room: usize) -> RedisResult<Delivery> {
        loop {
            if let Some(entry) = self.fetched.pop_front() {
                return Ok(entry);
            }
            let due = *self.member.claim_at.lock() <= Instant::now();
            // A read in progress may fill the room already.
            if due && self.pending_read.is_none() {
                self.claim(room).await?;
            } else {
                self.read(room).await?;
            }
        }
    }
}

impl crate::Session for Session {
    type Delivery = Delivery;

    async fn next(&mut self, room: usize) -> Result<Delivery, BrokerError> {
        let fetched = self.fetch(room).await;
        self.broken |= fetched.is_err();
        fetched.map_err(failed("read the stream"))
    }

    async fn close(mut self) {
        if self.broken {
            // Entries in progress must stay here. Those of a broken read become idle.
            return;
        }
        if let Some(pending_read) = self.pending_read.take() {
            let _ = pending_read.await;
        }
        let given_back = async {
            for one in self.member.pending("-", "+").await?.ids {
                self.member
                    .set_idle(&one.id, self.member.redis.claim_after)
                    .await?;
            }
            RedisResult::Ok(())
        };
        if let Err(error) = given_back.await {
            tracing::warn!(%error, "entries could not be given back to Redis; other consumers claim them once they are idle");
        }
    }
}

/// An entry of a stream.
pub struct Delivery {
    member: Arc<Member>,
    id: String,
    payload: Vec<u8>,
    fields: Vec<(String, Vec<u8>)>,
    redelivered: u32,
}

impl Delivery {
    fn new(member: &Arc<Member>, entry: StreamId, redelivered: u32) -> Self {
        let mut fields: Vec<(String, Vec<u8>)> = entry
            .map
            .into_iter()
            .map(|(name, value)| (name, from_redis_value(value).unwrap_or_default()))
            .collect();
        // The client loses their order.
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
        Self {
            member: Arc::clone(member),
            id: entry.id,
            payload,
            fields,
            redelivered,
        }
    }
}

impl crate::Delivery for Delivery {
    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn origin(&self) -> Origin {
        let origin = Origin::new("redis", &*self.member.redis.stream)
            .position(&*self.id)
            .redelivered(self.redelivered > 0);
        self.fields.iter().fold(origin, |origin, (name, value)| {
            match (name.as_str(), std::str::from_utf8(value)) {
                (ID, Ok(id)) => origin.message_id(id),
                (name, _) => origin.header_bytes(name, value),
            }
        })
    }

    fn redelivered(&self) -> Option<u32> {
        Some(self.redelivered)
    }

    async fn ack(self) -> Result<(), BrokerError> {
        let redis = &self.member.redis;
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
        both.query_async(&mut self.member.connection.clone())
            .await
            .map_err(failed("ack an entry"))
    }

    async fn retry(self, after: Duration) -> Result<(), BrokerError> {
        // A pause longer than `claim_after` comes in parts: the record says each time how much is
        // left.
        let idle = self.member.redis.claim_after.saturating_sub(after);
        self.member
            .set_idle(&self.id, idle)
            .await
            .map_err(failed("give an entry back"))?;
        let due = Instant::now() + after;
        let mut claim_at = self.member.claim_at.lock();
        *claim_at = due.min(*claim_at);
        Ok(())
    }

    fn progress_every(&self) -> Option<Duration> {
        Some(self.member.redis.claim_after / 3)
    }

    async fn in_progress(&self) -> Result<(), BrokerError> {
        self.member
            .set_idle(&self.id, Duration::ZERO)
            .await
            .map_err(failed("keep an entry"))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("redis", &self.member.redis)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
