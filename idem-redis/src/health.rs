//! What the server's settings promise.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use idem_runtime::ledger::UNFINISHED_MIGRATION;
use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use redis::{Cmd, FromRedisValue, cmd, from_redis_value};

use crate::call::{meta, tag};
use crate::error::unreadable;
use crate::link::{Line, Link};

/// How many rows are looked at to tell what one takes.
const SAMPLE: usize = 32;
/// About how many bytes a member of a sorted set takes: the name, the score, a node of the skip list and an
/// entry of the hash table.
const INDEXED: u64 = 100;

/// What the promises of a ledger on a server rest on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The server's name and version.
    pub version: String,
    /// Whether it is a replica, which takes no writes.
    pub is_replica: bool,
    /// How many replicas it has.
    pub replicas: u64,
    /// The setting `maxmemory-policy`; `None` where it is not told.
    pub eviction: Option<String>,
    /// The setting `appendonly`; `None` where it is not told.
    pub appends: Option<bool>,
    /// The setting `appendfsync`; `None` where it is not told.
    pub fsync: Option<String>,
    /// Whether the server could not write its append-only file the last time.
    pub append_fails: bool,
    /// Whether the ledger is there.
    pub has_ledger: bool,
    /// What the ledger lost, if no one has agreed to it.
    pub lost: Option<String>,
    /// What the ledger holds, if it is there.
    pub ledger: Option<LedgerHealth>,
    /// The bytes that its data takes in memory.
    pub used_memory: u64,
    /// The setting `maxmemory`, in bytes; `None` if there is no limit, or it is not told.
    pub max_memory: Option<u64>,
}

/// What a ledger holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerHealth {
    /// The incarnation: another one begins when the ledger is made, and when people agree to a loss.
    pub id: String,
    /// How many changes all processes have made, heartbeats included.
    pub changes: u64,
    /// The processes that use it, or did until less than a lease ago.
    pub living: Vec<String>,
    /// Whether a migration into the ledger is not finished, so that no service may open it.
    pub unfinished_migration: bool,
    /// The last number that it gave out: as a fencing token or a note's number.
    pub last_number: u64,
    /// About how many records it has.
    pub records: u64,
    /// About how many bytes of memory a record takes, by a sample; `None` without records, or if it is
    /// not told.
    pub record_bytes: Option<u64>,
}

impl Health {
    /// Asks with `INFO`, which most managed servers allow, and with `CONFIG GET` where that is allowed.
    pub(crate) async fn ask(link: &Link, name: &str) -> Result<Self, StoreError> {
        let line = Line::new(link.clone());
        // First, as it leads to the node of a cluster that has the ledger.
        let mut asking = cmd("HMGET");
        asking.arg(meta(&tag(name))).arg("id").arg("lost");
        let known: (Option<String>, Option<String>) =
            from_redis_value(line.ask(&asking).await?).map_err(unreadable)?;
        let info = line.ask(&cmd("INFO")).await;
        let info: String = match info {
            Ok(info) => from_redis_value(info).map_err(unreadable)?,
            Err(error) if is_forbidden(&error) => String::new(),
            Err(error) => return Err(error),
        };
        let mut asking = cmd("CONFIG");
        asking.arg("GET").arg("appendfsync");
        let fsync: Option<HashMap<String, String, RandomState>> = match line.ask(&asking).await {
            Ok(answer) => from_redis_value(answer).ok(),
            Err(error) if is_forbidden(&error) => None,
            Err(error) => return Err(error),
        };
        let fsync = fsync.and_then(|mut settings| settings.remove("appendfsync"));
        Ok(Self {
            has_ledger: known.0.is_some() || known.1.is_some(),
            lost: known.1,
            ..Self::of(&info, fsync)
        })
    }

    /// [Asks](Self::ask), and looks at what the ledger holds too.
    pub(crate) async fn look(link: &Link, name: &str) -> Result<Self, StoreError> {
        let health = Self::ask(link, name).await?;
        let ledger = LedgerHealth::ask(&Line::new(link.clone()), &tag(name)).await?;
        Ok(Self { ledger, ..health })
    }

    fn of(info: &str, fsync: Option<String>) -> Self {
        let fields: HashMap<_, _, RandomState> = info
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'))
            .collect();
        let text = |name: &str| fields.get(name).filter(|text| !text.is_empty()).copied();
        let number = |name: &str| text(name).and_then(|text| text.parse().ok());
        let version = match (text("valkey_version"), text("redis_version")) {
            (Some(version), _) => format!("Valkey {version}"),
            (None, Some(version)) => format!("Redis {version}"),
            (None, None) => "a server of unknown version".to_owned(),
        };
        Self {
            version,
            is_replica: text("role") == Some("slave"),
            replicas: number("connected_slaves").unwrap_or(0),
            eviction: text("maxmemory_policy").map(str::to_owned),
            appends: text("aof_enabled").map(|enabled| enabled == "1"),
            fsync,
            append_fails: text("aof_last_write_status") == Some("err"),
            has_ledger: false,
            lost: None,
            ledger: None,
            used_memory: number("used_memory").unwrap_or(0),
            max_memory: number("maxmemory").filter(|most| *most > 0),
        }
    }

    /// Returns whether the server may evict keys; `None` where it is not told.
    pub fn evicts(&self) -> Option<bool> {
        let policy = self.eviction.as_deref()?;
        Some(policy != "noeviction")
    }

    /// Returns whether the server told all that the promises rest on.
    pub fn is_verified(&self) -> bool {
        let knows_fsync = self.fsync.is_some() || self.appends == Some(false);
        self.eviction.is_some() && self.appends.is_some() && knows_fsync
    }

    /// Returns what is promised, in one line.
    pub fn promises(&self) -> String {
        let lasts = match (self.appends, self.fsync.as_deref()) {
            (None, _) => "cannot verify whether anything lasts a restart of the server",
            (Some(false), _) => "nothing lasts a restart of the server",
            (Some(true), Some("always")) => "what is acknowledged is on the server's disk",
            (Some(true), Some("everysec")) => {
                "a crash of the server's machine may lose the last two seconds"
            }
            (Some(true), Some(_)) => {
                "a crash of the server's machine may lose what its system had not written"
            }
            (Some(true), None) => {
                "cannot verify how much a crash of the server's machine may lose (appendfsync)"
            }
        };
        let failover = if self.replicas > 0 {
            "; a failover may lose what the replica had not received"
        } else {
            ""
        };
        let eviction = match self.evicts() {
            Some(false) => "",
            Some(true) => "; keys may be evicted, and nothing tells of it",
            None => "; cannot verify that no key is evicted (maxmemory-policy)",
        };
        format!("a ledger on {}: {lasts}{failover}{eviction}", self.version)
    }
}

impl LedgerHealth {
    async fn ask(line: &Line, tag: &str) -> Result<Option<Self>, StoreError> {
        let mut asking = cmd("HMGET");
        asking.arg(meta(tag)).arg("id");
        asking.arg(&["changes", "ahead", "numbers", "notes"]);
        let known: Vec<Option<String>> = answer(line, &asking).await?;
        let Some(Some(id)) = known.first().cloned() else {
            return Ok(None);
        };
        let number = |field: usize| known.get(field)?.as_deref()?.parse::<u64>().ok();
        let number = |field| number(field).unwrap_or(0);
        let (seconds, micros): (u64, u64) = answer(line, &cmd("TIME")).await?;
        let now = seconds * 1_000_000 + micros + number(2);
        let mut asking = cmd("ZRANGEBYSCORE");
        asking
            .arg(format!("{tag}u"))
            .arg(format!("({now}"))
            .arg("+inf");
        let living = answer(line, &asking).await?;
        let (mut records, mut sample) = (0, Vec::new());
        for index in ["x", "d"].map(|index| format!("{tag}{index}")) {
            let count: u64 = answer(line, cmd("ZCARD").arg(&index)).await?;
            records += count;
            let mut asking = cmd("ZRANGE");
            asking.arg(&index).arg(0).arg(SAMPLE / 2);
            let ids: Vec<Vec<u8>> = answer(line, &asking).await?;
            sample.extend(
                ids.into_iter()
                    .map(|id| [tag.as_bytes(), b"r:", &id].concat()),
            );
        }
        let mut asking = cmd("HEXISTS");
        asking.arg(format!("{tag}n")).arg(UNFINISHED_MIGRATION);
        let unfinished_migration = answer(line, &asking).await?;
        Ok(Some(Self {
            id,
            changes: number(1),
            living,
            unfinished_migration,
            last_number: number(3).max(number(4)),
            records,
            record_bytes: Self::mean(line, &sample).await?,
        }))
    }

    /// Returns the mean size of these rows, each with its place in an index.
    async fn mean(line: &Line, rows: &[Vec<u8>]) -> Result<Option<u64>, StoreError> {
        let (mut bytes, mut count) = (0, 0);
        for row in rows {
            let mut asking = cmd("MEMORY");
            asking.arg("USAGE").arg(row);
            match answer::<Option<u64>>(line, &asking).await {
                Ok(None) => {}
                Ok(Some(taken)) => (bytes, count) = (bytes + taken + INDEXED, count + 1),
                Err(error) if is_forbidden(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok((count > 0).then(|| bytes / count))
    }
}

async fn answer<T: FromRedisValue>(line: &Line, asking: &Cmd) -> Result<T, StoreError> {
    from_redis_value(line.ask(asking).await?).map_err(unreadable)
}

/// Returns whether the server did not let the question pass.
fn is_forbidden(error: &StoreError) -> bool {
    error.kind == StoreErrorKind::Refused
}
