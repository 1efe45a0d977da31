//! The disks that have to have what a script wrote before it counts: [`WAITAOF`].
//!
//! [`WAITAOF`]: https://valkey.io/commands/waitaof/

use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, RedisResult, Value, from_redis_value};

use crate::script::Script;

/// How long the disks may take, in milliseconds: less than a call of the store.
const LONGEST: u64 = 4_000;

/// The server's own disk, and those of so many replicas.
#[derive(Debug, Clone)]
pub(crate) struct Disks {
    replicas: u32,
    /// The key that is written behind a script which only reads.
    key: String,
}

impl Disks {
    /// Returns the disks for a ledger whose keys begin with this tag.
    pub(crate) fn new(replicas: u32, tag: &str) -> Self {
        let key = format!("{tag}t");
        Self { replicas, key }
    }

    /// Returns the command that asks whether the server has `WAITAOF`.
    pub(crate) fn probe() -> Cmd {
        let mut probe = redis::cmd("WAITAOF");
        probe.arg(1).arg(0).arg(1);
        probe
    }

    /// Runs a script, and waits for the disks in the same pipeline.
    ///
    /// # Errors
    /// That of the script or the connection; within, that the disks did not confirm it.
    pub(crate) async fn run(
        &self,
        script: Script,
        command: Cmd,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Result<Value, StoreError>> {
        let mut pipe = redis::pipe();
        pipe.add_command(command);
        if script.only_reads() {
            // It may have read what another connection wrote and the disks do not have yet. The server
            // waits for what this connection wrote, which lies behind that.
            pipe.cmd("SET").arg(&self.key).arg("");
        }
        pipe.cmd("WAITAOF").arg(1).arg(self.replicas).arg(LONGEST);
        let mut answers: Vec<RedisResult<Value>> =
            pipe.ignore_errors().query_async(connection).await?;
        let written = answers.pop().unwrap_or_else(|| Ok(Value::Nil));
        let touched = answers.split_off(answers.len().min(1)).pop();
        let value = answers.pop().unwrap_or_else(|| Ok(Value::Nil))?;
        let confirmed = touched.transpose().and(written);
        Ok(self.check(confirmed).map(|()| value))
    }

    /// Compares both counts: the server answers when the time is over, too.
    fn check(&self, written: RedisResult<Value>) -> Result<(), StoreError> {
        let counts = written.and_then(|counts| Ok(from_redis_value::<(u32, u32)>(counts)?));
        match counts {
            Ok((1.., replicas)) if replicas >= self.replicas => Ok(()),
            Ok((own, replicas)) => Err(StoreError::new(
                StoreErrorKind::Lost,
                format!(
                    "it may have been written, but {} of {} replicas have it on their disks{}",
                    replicas,
                    self.replicas,
                    if own == 0 {
                        ", and the server has not"
                    } else {
                        ""
                    }
                ),
            )),
            Err(error) => Err(unconfirmed(error)),
        }
    }
}

fn unconfirmed(error: RedisError) -> StoreError {
    let message = "it may have been written, but the server did not say that disks have it";
    StoreError::new(StoreErrorKind::Lost, message).source(error)
}
