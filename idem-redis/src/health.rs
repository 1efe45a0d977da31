//! What the server's settings promise.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use redis::{cmd, from_redis_value};

use crate::call::{meta, tag};
use crate::error::unreadable;
use crate::link::{Line, Link};

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
    /// Whether the ledger is there.
    pub has_ledger: bool,
    /// What the ledger lost, if no one has agreed to it.
    pub lost: Option<String>,
    /// The bytes that its data takes in memory.
    pub used_memory: u64,
    /// The setting `maxmemory`, in bytes; `None` if there is no limit, or it is not told.
    pub max_memory: Option<u64>,
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
            has_ledger: false,
            lost: None,
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

/// Returns whether the server did not let the question pass.
fn is_forbidden(error: &StoreError) -> bool {
    error.kind == StoreErrorKind::Refused
}
