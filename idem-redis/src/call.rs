//! Calls of scripts: what each of them says of this process, and what its answer says of the store.
//!
//! A store that was emptied, or went back to an earlier state, is noticed by every process that was told
//! more than it has: each request says how many of the process's own changes were answered, and of how
//! many it has heard in all. The script compares before it does anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use jiff::Timestamp;
use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, Value, from_redis_value};

use crate::error::{slot_moves, unreadable};
use crate::link::{Line, Link};
use crate::script::Script;
use crate::time::{ToldTime, micros, time};

/// How long a process may be silent before it counts its changes anew. The server forgets the count
/// after a week.
const SILENT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a request is made again that came too late by a clock that was set.
const LATE: Duration = Duration::from_secs(2);

/// The store on the server, as this process knows it.
#[derive(Debug)]
pub(crate) struct Server {
    /// What all keys begin with: a hash tag, so that they share a slot of a cluster.
    tag: String,
    allows_loss: bool,
    known: Mutex<Known>,
    /// The highest number that was reserved here.
    highest: AtomicU64,
    pub(crate) time: ToldTime,
}

/// What this process knows of the store.
#[derive(Debug, Clone)]
struct Known {
    /// The id of the store. Another one is given when people agree to a loss.
    id: String,
    /// The name by which the store counts the changes of this process.
    process: String,
    /// How many of them were answered.
    made: u64,
    /// Of how many changes of all processes it has heard.
    changes: u64,
    heard: Instant,
    /// Whether it was told that something is lost.
    is_lost: bool,
    /// The highest number that may have been given before a loss.
    above: u64,
}

impl Known {
    fn of(id: String) -> Self {
        Self {
            id,
            process: new_name(),
            made: 0,
            changes: 0,
            heard: Instant::now(),
            is_lost: false,
            above: 0,
        }
    }
}

fn new_name() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Returns what all keys of a ledger begin with.
pub(crate) fn tag(name: &str) -> String {
    format!("{{{name}}}")
}

/// Returns the key of what is known of a ledger.
pub(crate) fn meta(tag: &str) -> String {
    format!("{tag}m")
}

/// The answer of a script.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) now: Timestamp,
    value: Value,
}

impl Answer {
    pub(crate) fn value<T: FromRedisValue>(self) -> Result<T, StoreError> {
        from_redis_value(self.value).map_err(unreadable)
    }

    pub(crate) fn number(self) -> Result<u64, StoreError> {
        self.value::<String>()?.parse().map_err(unreadable)
    }
}

impl Server {
    /// Opens the store with this name, and makes it if there is none and it may.
    ///
    /// # Errors
    /// When no server answers, or the store lost something and no one has agreed.
    pub(crate) async fn open(
        link: &Link,
        name: &str,
        creates: bool,
        allows_loss: bool,
    ) -> Result<Self, StoreError> {
        let server = Self::unknown(name, allows_loss);
        let line = Line::new(link.clone());
        let opening = |command: &mut Cmd| {
            let command = command.arg(1).arg(server.meta());
            command.arg(new_name()).arg(u8::from(creates));
        };
        let opened = line.run(Script::Open, opening).await?;
        let (id, lost): (String, String) = from_redis_value(opened).map_err(unreadable)?;
        if lost.is_empty() {
            if id.is_empty() {
                let message = format!("no ledger on the server has the name `{name}`");
                return Err(StoreError::new(StoreErrorKind::Refused, message));
            }
            *server.known.lock() = Known::of(id);
        } else {
            let found = server.lost(&line, &lost).await;
            // Trying again is for a person, who has to agree first.
            found.map_err(|error| StoreError {
                kind: StoreErrorKind::Refused,
                ..error
            })?;
        }
        Ok(server)
    }

    fn unknown(name: &str, allows_loss: bool) -> Self {
        Self {
            tag: tag(name),
            allows_loss,
            known: Mutex::new(Known::of(String::new())),
            highest: AtomicU64::new(0),
            time: ToldTime::default(),
        }
    }

    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// The name of this process in what it publishes.
    pub(crate) fn process(&self) -> String {
        self.known.lock().process.clone()
    }

    pub(crate) fn reserved(&self, highest: u64) {
        self.highest.fetch_max(highest, Ordering::Relaxed);
    }

    /// Returns whether a number may have been given to another process, and the loss of it forgotten.
    pub(crate) fn is_of_before(&self, number: u64) -> bool {
        number <= self.known.lock().above
    }

    fn meta(&self) -> String {
        meta(&self.tag)
    }

    /// Calls a script with its arguments.
    ///
    /// # Errors
    /// [`StoreErrorKind::Stopped`] when the store lost something that this process was told, too.
    pub(crate) async fn call(
        &self,
        line: &Line,
        script: Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Answer, StoreError> {
        let asked = Instant::now();
        loop {
            let known = self.known();
            let answer = line.run(script, |command| {
                command.arg(1).arg(self.meta()).arg(&self.tag);
                command.arg(&known.id).arg(&known.process);
                command.arg(known.made).arg(known.changes);
                command.arg(micros(self.time.told()));
                command.arg(micros(self.time.latest()));
                command.arg(self.highest.load(Ordering::Relaxed));
                arguments(command);
            });
            let (status, now, made, changes, value): (String, String, String, String, Value) =
                from_redis_value(answer.await?).map_err(unreadable)?;
            match &*status {
                "moved" => {
                    let (id, above) = from_redis_value(value).map_err(unreadable)?;
                    self.moved(id, above);
                }
                "moving" => return Err(slot_moves()),
                "lost" => {
                    let lost: String = from_redis_value(value).map_err(unreadable)?;
                    Box::pin(self.lost(line, &lost)).await?;
                }
                _ => {
                    let read = |text: &str| text.parse::<u64>().map_err(unreadable);
                    self.heard(&known.process, read(&made)?, read(&changes)?);
                    let now = self.time.tell(time(now.parse().map_err(unreadable)?));
                    match &*status {
                        "dead" => {
                            let message = "the runner was marked dead";
                            return Err(StoreError::new(StoreErrorKind::RunnerDead, message));
                        }
                        // If a clock was set, it was not late.
                        "late" if asked.elapsed() < LATE => {}
                        "late" => {
                            let message = "the request came too late";
                            return Err(StoreError::new(StoreErrorKind::Away, message));
                        }
                        _ => return Ok(Answer { now, value }),
                    }
                }
            }
        }
    }

    fn known(&self) -> Known {
        let mut known = self.known.lock();
        if known.heard.elapsed() > SILENT {
            *known = Known {
                changes: known.changes,
                is_lost: known.is_lost,
                above: known.above,
                ..Known::of(known.id.clone())
            };
        }
        known.clone()
    }

    fn heard(&self, process: &str, made: u64, changes: u64) {
        let mut known = self.known.lock();
        // An answer from before a loss says nothing of what is there now.
        if known.process == process {
            known.made = known.made.max(made);
            known.changes = known.changes.max(changes);
            known.heard = Instant::now();
            known.is_lost = false;
        }
    }

    /// Goes on with what is there, to which someone agreed.
    fn moved(&self, id: String, above: u64) {
        let mut known = self.known.lock();
        if known.id != id {
            tracing::info!("the ledger on Redis goes on with what it has, as was agreed");
            *known = Known {
                above,
                ..Known::of(id)
            };
        }
    }

    /// Says once that something was lost, and agrees if that is allowed.
    async fn lost(&self, line: &Line, what: &str) -> Result<(), StoreError> {
        let was_told = std::mem::replace(&mut self.known.lock().is_lost, true);
        if !was_told {
            metrics::counter!("idem_redis_losses_total").increment(1);
            tracing::error!(
                "the ledger on Redis lost what it had acknowledged: {what}. Messages whose records \
                 are gone run again when they are delivered again: compare the business's own data \
                 with the brokers"
            );
        }
        if self.allows_loss {
            return self.accept(line).await.map(drop);
        }
        let message = format!(
            "the ledger on Redis lost what it had acknowledged: {what}. Restore its data, or agree \
             to go on without what is gone, with `idem accept-loss`"
        );
        Err(StoreError::new(StoreErrorKind::Stopped, message))
    }

    /// Agrees to go on with what is there. Returns whether something was lost.
    async fn accept(&self, line: &Line) -> Result<bool, StoreError> {
        let highest = self.highest.load(Ordering::Relaxed);
        let accepting = |command: &mut Cmd| {
            let command = command.arg(1).arg(self.meta());
            command.arg(new_name()).arg(highest);
        };
        let accepted = line.run(Script::Accept, accepting).await?;
        let (id, above, was_lost): (String, u64, u8) =
            from_redis_value(accepted).map_err(unreadable)?;
        self.moved(id, above);
        Ok(was_lost == 1)
    }

    /// Agrees to go on with what is there, in the name of a person. Returns whether something was lost.
    pub(crate) async fn accept_loss(link: &Link, name: &str) -> Result<bool, StoreError> {
        let server = Self::unknown(name, true);
        server.accept(&Line::new(link.clone())).await
    }
}
