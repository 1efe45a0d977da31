//! How many connections a process may have.

use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::error::of_connecting;

/// The connections that serve a whole process: heartbeats, and hints.
const OF_THE_PROCESS: u32 = 2;

/// The runtimes that a process has at least: idem's own, and the caller's.
const RUNTIMES: u32 = 2;

/// The limits of this role and this database, which do not hold for superusers. None is -1.
const LIMITS: &str = "SELECT r.rolname::text, r.rolconnlimit, d.datname::text, d.datconnlimit
    FROM pg_roles AS r, pg_database AS d
    WHERE r.rolname = session_user AND d.datname = current_database() AND NOT r.rolsuper";

/// The most connections of each purpose that one runtime has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) writes: u32,
    pub(crate) reads: u32,
    pub(crate) transactions: u32,
}

impl Room {
    /// Returns how many a process has at most whose attempts run on one runtime.
    fn most(self) -> u32 {
        let Self {
            writes,
            reads,
            transactions,
        } = self;
        transactions.saturating_add(OF_THE_PROCESS + RUNTIMES * (writes + reads))
    }

    /// Makes do with what the role and the database allow.
    ///
    /// # Errors
    /// [`StoreErrorKind::Refused`] when that is too little for a single caller.
    pub(crate) async fn within_limits(
        self,
        connection: &mut PgConnection,
    ) -> Result<Self, StoreError> {
        let limits = sqlx::raw_sql(LIMITS).fetch_optional(connection).await;
        let Some(limits) = limits.map_err(of_connecting)? else {
            return Ok(self);
        };
        let limit = |kind: &'static str, at: usize| {
            let limit = u32::try_from(limits.try_get::<i32, _>(at + 1)?).unwrap_or(u32::MAX);
            Ok((limit, kind, limits.try_get::<&str, _>(at)?))
        };
        let limits = limit("role", 0).and_then(|role| Ok((role, limit("database", 2)?)));
        let (role, database) = limits.map_err(of_connecting)?;
        self.within(role.min(database))
    }

    fn within(self, (limit, kind, name): (u32, &str, &str)) -> Result<Self, StoreError> {
        if self.most() <= limit {
            return Ok(self);
        }
        let one = Self {
            writes: 1,
            reads: 1,
            transactions: 1,
        };
        let Some(more) = limit.checked_sub(one.most()) else {
            let message = format!(
                "the {kind} `{name}` may have {limit} connections, and one process needs {}, better \
                 {}: raise it with ALTER {} … CONNECTION LIMIT",
                one.most(),
                self.most(),
                kind.to_uppercase()
            );
            return Err(StoreError::new(StoreErrorKind::Refused, message));
        };
        let transactions = self.transactions.min(1 + more);
        tracing::info!(
            limit,
            kind,
            name,
            transactions,
            "fewer connections than the settings say"
        );
        Ok(Self {
            transactions,
            ..one
        })
    }
}
