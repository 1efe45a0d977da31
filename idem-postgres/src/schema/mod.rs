//! The tables, and how they come into being.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row, SqlSafeStr, SqlStr};

use crate::error::{of_connecting, of_statement, said};
use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};

/// The versions in order. One that was released never changes.
const VERSIONS: [&str; 1] = [include_str!("1.sql")];

/// The oldest version of PostgreSQL that idem is for.
const OLDEST: i32 = 130_000;

const NO_PRIVILEGE: &str = "42501";
const THERE_ALREADY: &str = "42P07";

/// The name of the schema that all of idem's tables are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schema(Option<Box<str>>);

impl Schema {
    /// Returns the schema of this name, `idem` by default.
    ///
    /// # Errors
    /// [`StoreErrorKind::Refused`] when the name would have to be quoted.
    pub(crate) fn named(name: &str) -> Result<Self, StoreError> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let starts_well = name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit());
        if !starts_well || name.len() > 50 || !name.bytes().all(is_plain) || name.starts_with("pg_")
        {
            return Err(StoreError::new(
                StoreErrorKind::Refused,
                format!(
                    "`{name}` cannot be the name of the schema: use up to 50 of a-z, 0-9 and _, a \
                     letter first"
                ),
            ));
        }
        Ok(Self((name != "idem").then(|| name.into())))
    }

    /// Returns the newest version that this crate knows.
    pub(crate) fn known() -> usize {
        VERSIONS.len()
    }

    pub(crate) fn name(&self) -> &str {
        self.0.as_deref().unwrap_or("idem")
    }

    /// Returns a statement in which `idem.` stands for the schema.
    pub(crate) fn sql(&self, statement: &'static str) -> SqlStr {
        match &self.0 {
            None => statement.into_sql_str(),
            // The name was checked.
            Some(name) => {
                AssertSqlSafe(statement.replace("idem.", &format!("{name}."))).into_sql_str()
            }
        }
    }

    /// Returns the statements that bring an empty database, or one of an earlier version, to the
    /// newest.
    fn migration(&self, from: usize) -> String {
        let name = self.name();
        let mut script = format!(
            "SELECT pg_advisory_xact_lock(7599655, hashtext('{name}'));\n\
             CREATE SCHEMA IF NOT EXISTS {name};\n\
             CREATE TABLE IF NOT EXISTS {name}.schema_version (version integer PRIMARY KEY, since \
             timestamptz NOT NULL DEFAULT clock_timestamp());\n"
        );
        for (number, version) in VERSIONS.iter().enumerate().skip(from) {
            script += self.sql(version).as_str();
            script += &format!(
                "INSERT INTO {name}.schema_version (version) VALUES ({});\n",
                number + 1
            );
        }
        script
    }

    /// Refuses a server that idem cannot use.
    pub(crate) async fn check_server(
        &self,
        connection: &mut PgConnection,
    ) -> Result<(), StoreError> {
        let row = sqlx::raw_sql(
            "SELECT current_setting('server_version_num')::integer, current_setting('server_encoding')",
        )
        .fetch_one(connection)
        .await
        .map_err(of_connecting)?;
        let version: i32 = row.try_get(0).map_err(of_connecting)?;
        let encoding: String = row.try_get(1).map_err(of_connecting)?;
        let why = if version < OLDEST {
            format!(
                "PostgreSQL {} is too old: idem needs 13 or newer",
                version / 10_000
            )
        } else if encoding != "UTF8" {
            format!("the database has the encoding {encoding}: create one with UTF8")
        } else {
            return Ok(());
        };
        Err(StoreError::new(StoreErrorKind::Refused, why))
    }

    /// Returns the version of the schema in the database, 0 if there is none.
    pub(crate) async fn version(&self, connection: &mut PgConnection) -> Result<usize, StoreError> {
        // `to_regclass` would look into a cache of the session, from before a lock was waited for.
        let there = format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class AS c
                JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                WHERE n.nspname = '{}' AND c.relname = 'schema_version')",
            self.name()
        );
        let there = sqlx::raw_sql(AssertSqlSafe(there))
            .fetch_one(&mut *connection)
            .await;
        if !there
            .and_then(|row| row.try_get(0))
            .map_err(of_connecting)?
        {
            return Ok(0);
        }
        let version = self.sql("SELECT max(version) FROM idem.schema_version");
        let version = sqlx::raw_sql(version).fetch_one(connection).await;
        let version: Option<i32> = version.and_then(|row| row.try_get(0)).map_err(|error| {
            let error = of_statement(error);
            if said(&error, NO_PRIVILEGE) {
                return self.so(error, "grant the role what idem-postgres's README has");
            }
            error
        })?;
        Ok(usize::try_from(version.unwrap_or(0)).unwrap_or(0))
    }

    /// Brings the schema to the version that this crate knows. As many processes as like may do so
    /// at once.
    ///
    /// # Errors
    /// [`StoreErrorKind::Refused`] when the database has a newer version, or when the role may not
    /// make the tables.
    pub(crate) async fn migrate(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if self.is_current(connection).await? {
            return Ok(());
        }
        let name = self.name();
        run(
            connection,
            format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '30s'; SET LOCAL \
                 statement_timeout = '60s'; SELECT pg_advisory_xact_lock(7599655, hashtext('{name}'))"
            ),
        )
        .await?;
        // Another process may have done it meanwhile.
        let from = self.version(connection).await?;
        let script = if from < VERSIONS.len() {
            self.migration(from)
        } else {
            String::new()
        };
        let migrated = run(connection, format!("{script}COMMIT")).await;
        if migrated.is_err() {
            // What could not be committed is rolled back with the connection at the latest.
            let _ = run(connection, "ROLLBACK".to_owned()).await;
        }
        migrated.map_err(|error| self.not_made(error))?;
        if self.is_current(connection).await? {
            return Ok(());
        }
        Err(self.refused("it could not be brought to the version that this program needs"))
    }

    /// Returns whether the schema has the version that this crate knows.
    ///
    /// # Errors
    /// [`StoreErrorKind::Refused`] when it has a newer one.
    pub(crate) async fn is_current(
        &self,
        connection: &mut PgConnection,
    ) -> Result<bool, StoreError> {
        let version = self.version(connection).await?;
        if version > VERSIONS.len() {
            return Err(self.refused(&format!(
                "it has version {version}, and this program knows {} at most: update the program",
                VERSIONS.len()
            )));
        }
        Ok(version == VERSIONS.len())
    }

    /// Says what to do where the server refused to make the tables.
    fn not_made(&self, error: StoreError) -> StoreError {
        if said(&error, NO_PRIVILEGE) {
            self.so(
                error,
                "open it once as a role with CREATE on the database, or run the statements of \
                 `idem_postgres::schema_sql` as one; then grant what idem-postgres's README has",
            )
        } else if said(&error, THERE_ALREADY) {
            self.so(error, "choose another name with `schema(…)`")
        } else {
            error
        }
    }

    /// Says where an error happened, and what to do.
    fn so(&self, mut error: StoreError, then: &str) -> StoreError {
        error.message = format!("the schema `{}`: {}: {then}", self.name(), error.message);
        error
    }

    pub(crate) fn refused(&self, why: &str) -> StoreError {
        let message = format!("the schema `{}`: {why}", self.name());
        StoreError::new(StoreErrorKind::Refused, message)
    }
}

/// Returns the statements that make idem's tables in the schema `name`, for a database whose
/// services may not do it themselves. They change nothing that is there already.
///
/// # Errors
/// When the name would have to be quoted.
pub fn schema_sql(name: &str) -> Result<String, StoreError> {
    Ok(format!(
        "BEGIN;\n{}COMMIT;\n",
        Schema::named(name)?.migration(0)
    ))
}

async fn run(connection: &mut PgConnection, script: String) -> Result<(), StoreError> {
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(connection)
        .await
        .map(drop)
        .map_err(of_statement)
}
