//! `idem migrate`: what is in a ledger that no service uses, copied into another one.
//!
//! The source is read as it is, and judged as a service would find it after a restart. Each thing is
//! written where there is none, so a copy that was cut off goes on.

mod copy;
mod from_folder;
mod from_postgres;
mod from_redis;
mod from_shared;
mod into_folder;
mod into_shared;
mod mark;
mod places;
mod plan;
mod report;
mod source;
mod tally;
mod target;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use idem_postgres::Postgres;
use idem_redis::Redis;
use idem_runtime::ledger::shared::Store;
use idem_runtime::ledger::{Engine, UNFINISHED_MIGRATION};
use jiff::Timestamp;

use super::args::{Migrate, Place};
use super::out::Out;
use super::problem::Problem;
use super::target::{LedgerPlace, LedgerUrl, Server};
use from_shared::{SourceServer, StoppedServer};
use into_shared::SharedTarget;
use mark::Mark;
use places::named;
use plan::{Done, How, Plan, carry_out, complete, plan};
use report::{Report, page};
use source::{Source, Stopped};
use target::Target;

/// Why a ledger is no source.
const IS_UNFINISHED: &str =
    "a migration into it is not finished: run that one once more, until it says that all is there";

pub(crate) async fn run(how: Migrate, place: &Place, out: Out) -> Result<(), Problem> {
    let Migrate {
        from,
        from_schema,
        to,
        engine,
        dry_run,
        partial,
    } = how;
    if place.url.is_some() || place.data.is_some() || place.ledger.is_some() {
        return Err(Problem::usage(
            "`idem migrate` goes `--from` one ledger `--to` another: leave the other place out",
        ));
    }
    let to = match to {
        Some(to) => to,
        None => LedgerPlace::Shared(LedgerUrl::from_env()?.ok_or_else(|| {
            Problem::usage(
                "where to? Give `--to` and a folder or a URL, such as `postgres://user@host/database` or \
                 `redis://host`, or set IDEM_LEDGER",
            )
        })?),
    };
    places::check((&from, &from_schema), (&to, &place.schema))?;
    let how = How {
        now: Timestamp::now(),
        dry_run,
        partial,
    };
    let target = match &to {
        LedgerPlace::Folder(folder) => Destination::Folder(folder.clone(), engine.map(Into::into)),
        LedgerPlace::Shared(_) if engine.is_some() => {
            return Err(Problem::usage(
                "`--engine` is for a folder: a server has its own",
            ));
        }
        LedgerPlace::Shared(url) => match url.server(&place.schema)? {
            Server::Postgres(settings) => Destination::Postgres(settings, url.clone()),
            Server::Redis(settings) => Destination::Redis(settings, url.clone()),
        },
    };
    let done = match &from {
        LedgerPlace::Folder(folder) => {
            let folder = from_folder::hold(folder)?;
            if from_folder::note(&folder, UNFINISHED_MIGRATION)?.is_some() {
                return Err(Problem::failed(format!("`{from}`: {IS_UNFINISHED}")));
            }
            migrate_to(&folder, target, &how).await?
        }
        LedgerPlace::Shared(url) => match url.server(&from_schema)? {
            Server::Postgres(settings) => migrate_from(url, *settings, target, &how).await?,
            Server::Redis(settings) => {
                let settings = url.allowed(settings).await?;
                migrate_from(url, settings, target, &how).await?
            }
        },
    };
    let report = Report {
        from: from.to_string(),
        to: to.to_string(),
        names: [named(&from, &from_schema), named(&to, &place.schema)],
        dry_run,
        done_before: done.before,
        tally: done.tally,
    };
    out.answer(&report, |out| page(&report, out))?;
    if dry_run {
        return complete(&report.tally, partial);
    }
    Ok(())
}

/// Where a migration goes.
enum Destination {
    Folder(PathBuf, Option<Engine>),
    Postgres(Box<Postgres>, LedgerUrl),
    Redis(Redis, LedgerUrl),
}

async fn migrate_from(
    url: &LedgerUrl,
    server: impl SourceServer,
    target: Destination,
    how: &How,
) -> Result<Done, Problem> {
    let source = StoppedServer::open(url.clone(), server).await?;
    let done = migrate_to(&source, target, how).await;
    source.close().await;
    done
}

async fn migrate_to(
    source: &impl Stopped,
    target: Destination,
    how: &How,
) -> Result<Done, Problem> {
    match target {
        Destination::Folder(path, engine) => migrate_to_folder(source, &path, engine, how).await,
        Destination::Postgres(settings, url) => {
            migrate_to_postgres(source, *settings, &url, how).await
        }
        Destination::Redis(settings, url) => migrate_to_redis(source, settings, &url, how).await,
    }
}

async fn migrate_to_folder(
    source: &impl Stopped,
    path: &Path,
    engine: Option<Engine>,
    how: &How,
) -> Result<Done, Problem> {
    let plan = plan(source, into_folder::mark(path)?, how).await?;
    if let Plan::End(done) = plan {
        return Ok(done);
    }
    fill(plan, path, into_folder::engine(path, engine), how).await
}

async fn fill<O: Stopped>(
    plan: Plan<'_, O>,
    path: &Path,
    engine: Engine,
    how: &How,
) -> Result<Done, Problem> {
    if engine == Engine::Fjall {
        let store = into_folder::fill_on_fjall(path)?;
        let target = SharedTarget::new(&store, into_folder::ELSEWHERE);
        let done = carry_out(plan, &target, how, async || Ok(())).await;
        store.close().await;
        return done;
    }
    let target = into_folder::fill(path)?;
    let done = carry_out(plan, &target, how, async || Ok(())).await;
    let closed = target.close().await;
    done.and_then(|done| closed.map(|()| done))
}

async fn migrate_to_postgres(
    source: &impl Stopped,
    settings: Postgres,
    url: &LedgerUrl,
    how: &How,
) -> Result<Done, Problem> {
    let alone = async || {
        let health = settings.clone().health().await;
        let health = health.map_err(|error| url.problem(&error))?;
        let living = health.ledger.iter().flat_map(|ledger| &ledger.living);
        in_use(living, url)?;
        Ok(health.schema_version >= health.known_version)
    };
    if !alone().await? && how.dry_run {
        // Its tables would be made.
        return look(source, how).await;
    }
    let store = settings.clone().migrate(!how.dry_run).store().await;
    let store = store.map_err(|error| url.problem(&error))?;
    let done = migrate(source, &store, how, async || alone().await.map(drop)).await;
    store.close().await;
    done
}

async fn migrate_to_redis(
    source: &impl Stopped,
    settings: Redis,
    url: &LedgerUrl,
    how: &How,
) -> Result<Done, Problem> {
    let settings = url.allowed(settings).await?.create(!how.dry_run);
    let alone = async || {
        let health = settings.health().await;
        let health = health.map_err(|error| url.problem(&error))?;
        let living = health.ledger.iter().flat_map(|ledger| &ledger.living);
        in_use(living, url)?;
        Ok(health.ledger.is_some())
    };
    if !alone().await? && how.dry_run {
        return look(source, how).await;
    }
    let store = settings.clone().store().await;
    let store = store.map_err(|error| url.problem(&error))?;
    let done = migrate(source, &store, how, async || alone().await.map(drop)).await;
    store.close().await;
    done
}

/// Checks that no service beats. A run of this program that was killed seems to live for a moment.
fn in_use<'a>(
    living: impl IntoIterator<Item = &'a String>,
    url: &LedgerUrl,
) -> Result<(), Problem> {
    let services: Vec<_> = living
        .into_iter()
        .filter(|name| !name.starts_with(into_shared::NAME))
        .collect();
    match &services[..] {
        [] => Ok(()),
        [first, ..] => Err(Problem::failed(format!(
            "`{url}` is used by {}, such as `{first}`: stop what uses it, and start it when the migration is done. One \
             that was killed counts until its lease has ended",
            if services.len() == 1 {
                "1 process".to_owned()
            } else {
                format!("{} processes", services.len())
            }
        ))),
    }
}

/// Looks at what would go over into a ledger that is yet to be made.
async fn look(source: &impl Stopped, how: &How) -> Result<Done, Problem> {
    let tally = Source::new(source, how.now).look().await?;
    let before = None;
    Ok(Done { before, tally })
}

/// Copies a ledger into a store, or goes on with it. `alone` fails if a service is at work on it.
async fn migrate<S: Store>(
    source: &impl Stopped,
    store: &S,
    how: &How,
    alone: impl AsyncFnOnce() -> Result<(), Problem>,
) -> Result<Done, Problem> {
    let target = SharedTarget::new(store, "by another name (`--schema`)");
    let migrating = async {
        let plan = plan(source, Mark::read(&target).await?, how).await?;
        carry_out(plan, &target, how, alone).await
    };
    let done = migrating.await;
    let closed = target.close().await;
    done.and_then(|done| closed.map(|()| done))
}
