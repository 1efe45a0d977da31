//! A consumer in the group, and the state of its entries there.

use std::collections::HashMap;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::streams::StreamPendingCountReply;
use ::redis::{RedisResult, cmd};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Redis;

/// A member of the group.
pub(super) struct Member {
    pub(super) redis: Redis,
    /// New for each connection, which claims the entries of an earlier one like those of others.
    pub(super) consumer: String,
    pub(super) connection: MultiplexedConnection,
    /// When to look for entries to claim.
    pub(super) claim_at: Mutex<Instant>,
}

impl Member {
    /// Returns this consumer's pending entries.
    pub(super) async fn pending(
        &self,
        first: &str,
        last: &str,
    ) -> RedisResult<StreamPendingCountReply> {
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

    /// Returns how often this consumer's entries were delivered.
    pub(super) async fn times(
        &self,
        first: &str,
        last: &str,
    ) -> RedisResult<HashMap<String, usize>> {
        let pending = self.pending(first, last).await?;
        Ok(pending
            .ids
            .into_iter()
            .map(|one| (one.id, one.times_delivered))
            .collect())
    }

    /// Sets how long an entry was idle: it is claimed later after a pause. This does not count as a
    /// delivery, and has no effect on an acked entry.
    pub(super) async fn set_idle(&self, id: &str, idle: Duration) -> RedisResult<()> {
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
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
