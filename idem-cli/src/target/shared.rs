//! A ledger that services share: a database of PostgreSQL, or a Redis or Valkey.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use idem_postgres::Postgres;
use idem_postgres::health::Health;
use idem_redis::Redis;
use idem_runtime::ledger::LedgerError;
use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use idem_runtime::{Error, Idem};
use url::Url;

use crate::problem::Problem;

/// Closed letters are removed by services, which know how long to keep them, and never by this
/// program.
const LETTERS_STAY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The URL of a shared ledger. A password may be in it, so it is shown without.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LedgerUrl(String);

/// The settings of a ledger on its server.
pub(crate) enum Server {
    Postgres(Box<Postgres>),
    Redis(Redis),
}

/// A folder, or the URL of a shared ledger.
#[derive(Debug, Clone)]
pub(crate) enum LedgerPlace {
    Folder(PathBuf),
    Shared(LedgerUrl),
}

impl From<OsString> for LedgerPlace {
    fn from(place: OsString) -> Self {
        match place.to_str() {
            Some(url) if url.contains("://") => Self::Shared(LedgerUrl(url.to_owned())),
            _ => Self::Folder(place.into()),
        }
    }
}

impl fmt::Display for LedgerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Shared(url) => url.fmt(f),
        }
    }
}

impl FromStr for LedgerUrl {
    type Err = Infallible;

    /// What is wrong with a URL is said when it is used: clap would show it as it is.
    fn from_str(url: &str) -> Result<Self, Infallible> {
        Ok(Self(url.to_owned()))
    }
}

impl LedgerUrl {
    /// Returns the URL in the environment.
    ///
    /// # Errors
    /// Exit code 2 when it is not UTF-8.
    pub(crate) fn from_env() -> Result<Option<Self>, Problem> {
        match std::env::var_os("IDEM_LEDGER").filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(url) => match url.into_string() {
                Ok(url) => Ok(Some(Self(url))),
                Err(_) => Err(Problem::usage("IDEM_LEDGER is not UTF-8")),
            },
        }
    }

    /// Returns the settings of its ledger, which is made by services and by `idem migrate`. `name` is the
    /// schema, or the name on a Redis.
    ///
    /// # Errors
    /// Exit code 2 when it is not the URL of a ledger.
    pub(crate) fn server(&self, name: &str) -> Result<Server, Problem> {
        let is = |schemes: [&str; 2]| schemes.iter().any(|scheme| self.0.starts_with(scheme));
        if Url::parse(&self.0).is_ok() {
            if is(["postgres://", "postgresql://"]) {
                let postgres = Postgres::new(&self.0).schema(name).migrate(false);
                return Ok(Server::Postgres(postgres.into()));
            }
            if is(["redis://", "rediss://"]) {
                // Whether evicted keys may be lost is decided by services.
                let redis = Redis::new(&self.0).name(name).create(false);
                return Ok(Server::Redis(redis.allow_eviction()));
            }
        }
        Err(Problem::usage(
            "the URL of the ledger cannot be read: write `postgres://user@host/database` or `redis://host`",
        ))
    }

    /// Opens its ledger, which is not made where there is none: a mistyped name would look like an
    /// empty one.
    ///
    /// # Errors
    /// Exit code 3 when it cannot be reached, and 1 when it cannot be used.
    pub(crate) async fn open(&self, name: &str) -> Result<Idem, Problem> {
        match self.server(name)? {
            Server::Postgres(postgres) => self.open_postgres(*postgres).await,
            Server::Redis(redis) => self.open_redis(redis).await,
        }
    }

    /// A role that may only read gets a ledger that refuses every change.
    async fn open_postgres(&self, postgres: Postgres) -> Result<Idem, Problem> {
        let health = postgres.clone().health().await;
        let Health { role, lacks, .. } = health.map_err(|error| self.problem(&error))?;
        let builder = Idem::builder().letter_retention(LETTERS_STAY);
        let opened = if lacks.is_empty() {
            builder.open_with(postgres.ledger()).await
        } else {
            let lacks = lacks.join(", ");
            let why = format!(
                "the role `{role}` lacks {lacks}: grant it, or come as the role that services use"
            );
            builder.open_with(postgres.viewer(why)).await
        };
        opened.map_err(|error| self.unopened(error))
    }

    async fn open_redis(&self, redis: Redis) -> Result<Idem, Problem> {
        let redis = self.allowed(redis).await?;
        let builder = Idem::builder().letter_retention(LETTERS_STAY);
        let opened = builder.open_with(redis.ledger()).await;
        opened.map_err(|error| self.unopened(error))
    }

    /// Returns settings with which a Redis can be opened as its services open it.
    ///
    /// # Errors
    /// Exit code 3 when it cannot be reached, and 1 when its ledger has lost something.
    pub(crate) async fn allowed(&self, redis: Redis) -> Result<Redis, Problem> {
        let health = redis.health().await.map_err(|error| self.problem(&error))?;
        if let Some(lost) = health.lost {
            return Err(self.refused(&format!(
                "the ledger lost what it had acknowledged ({lost}): bring the server's data back, or go on \
                 without what is gone with `idem accept-loss`"
            )));
        }
        Ok(match health.appends {
            // Its services allow every loss, or they could not have opened it.
            Some(false) => redis.allow_loss(),
            _ => redis,
        })
    }

    fn unopened(&self, error: Error) -> Problem {
        let Error::Ledger { source: cause, .. } = error else {
            return self.refused(&format!("{error:#}"));
        };
        let (kind, message, source) = match cause {
            LedgerError::Unavailable {
                message, source, ..
            } => (StoreErrorKind::Away, message, source),
            LedgerError::Refused { message, source } => (StoreErrorKind::Refused, message, source),
            cause => return self.refused(&format!("{cause:#}")),
        };
        self.problem(&StoreError {
            kind,
            message,
            source,
        })
    }

    /// Says why its store cannot be used.
    pub(crate) fn problem(&self, error: &StoreError) -> Problem {
        match error.kind {
            StoreErrorKind::Away | StoreErrorKind::Lost => self.away(&format!("{error:#}")),
            _ => self.refused(&format!("{error:#}")),
        }
    }

    fn away(&self, why: &str) -> Problem {
        Problem::unreachable(format!(
            "`{self}` cannot be reached ({why}): is the server running, and are host, name and password right?"
        ))
    }

    pub(crate) fn refused(&self, why: &str) -> Problem {
        Problem::failed(format!("`{self}` cannot be used: {why}"))
    }
}

impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(mut url) = Url::parse(&self.0) else {
            return f.write_str("the ledger");
        };
        // Its parameters may hold a password too.
        url.set_query(None);
        url.set_fragment(None);
        if url.password().is_some() && url.set_password(None).is_err() {
            return f.write_str("the ledger");
        }
        url.fmt(f)
    }
}

impl fmt::Debug for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LedgerUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            (
                "postgres://ann:s3cret@db:5433/shop",
                "postgres://ann@db:5433/shop",
            ),
            (
                "postgres://db/shop?user=ann&password=s3cret",
                "postgres://db/shop",
            ),
            ("postgres://:s3cret@db/shop#s3cret", "postgres://db/shop"),
            ("rediss://:s3cret@cache:6380/1", "rediss://cache:6380/1"),
            ("s3cret", "the ledger"),
        ] {
            let Ok(url) = url.parse::<LedgerUrl>();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("LedgerUrl({shown})"));
        }
    }
}
