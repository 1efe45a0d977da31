//! A database that services share.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use idem_postgres::Postgres;
use idem_postgres::health::Health;
use idem_runtime::ledger::LedgerError;
use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};
use idem_runtime::{Error, Idem};
use url::Url;

use crate::problem::Problem;

/// Closed letters are removed by services, which know how long to keep them, and never by this
/// program.
const LETTERS_STAY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The URL of a database. A password may be in it, so it is shown without.
#[derive(Clone)]
pub(crate) struct LedgerUrl(String);

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

    /// Returns the settings of its ledger. Tables are made by services and by `idem migrate`.
    ///
    /// # Errors
    /// Exit code 2 when it is not the URL of a database.
    pub(crate) fn postgres(&self, schema: &str) -> Result<Postgres, Problem> {
        let is_one = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| self.0.starts_with(scheme));
        if !is_one || Url::parse(&self.0).is_err() {
            return Err(Problem::usage(
                "the URL of the database cannot be read: write `postgres://user@host/database`",
            ));
        }
        Ok(Postgres::new(&self.0).schema(schema).migrate(false))
    }

    /// Opens its ledger, which is not made where there is none: a mistyped name would look like an
    /// empty one. A role that may only read gets one that refuses every change.
    ///
    /// # Errors
    /// Exit code 3 when it cannot be reached, and 1 when it cannot be used.
    pub(crate) async fn open(&self, schema: &str) -> Result<Idem, Problem> {
        let postgres = self.postgres(schema)?;
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
        opened.map_err(|error| {
            let Error::Ledger { source: cause, .. } = error else {
                return self.refused(&format!("{error:#}"));
            };
            let (kind, message, source) = match cause {
                LedgerError::Unavailable {
                    message, source, ..
                } => (StoreErrorKind::Away, message, source),
                LedgerError::Refused { message, source } => {
                    (StoreErrorKind::Refused, message, source)
                }
                cause => return self.refused(&format!("{cause:#}")),
            };
            self.problem(&StoreError {
                kind,
                message,
                source,
            })
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

    fn refused(&self, why: &str) -> Problem {
        Problem::failed(format!("`{self}` cannot be used: {why}"))
    }
}

impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(mut url) = Url::parse(&self.0) else {
            return f.write_str("the database");
        };
        // Its parameters may hold a password too.
        url.set_query(None);
        url.set_fragment(None);
        if url.password().is_some() && url.set_password(None).is_err() {
            return f.write_str("the database");
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
            ("s3cret", "the database"),
        ] {
            let Ok(url) = url.parse::<LedgerUrl>();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("LedgerUrl({shown})"));
        }
    }
}
