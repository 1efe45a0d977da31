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
mod source;
mod tally;
mod target;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use comfy_table::Cell;
use idem_postgres::Postgres;
use idem_redis::Redis;
use idem_runtime::ledger::UNFINISHED_MIGRATION;
use idem_runtime::ledger::shared::Store;
use jiff::Timestamp;
use serde::Serialize;

use super::args::{Migrate, Place};
use super::format::line;
use super::out::Out;
use super::problem::Problem;
use super::progress;
use super::target::{LedgerPlace, LedgerUrl, Server};
use copy::Copier;
use from_shared::{SourceServer, StoppedServer};
use into_shared::SharedTarget;
use mark::Mark;
use source::{Source, Stopped};
use tally::{Kind, Skip, Tally};
use target::Target;

/// The name of a ledger on a server, where no other is given.
const NAME: &str = "idem";
/// Why a ledger is no source.
const IS_UNFINISHED: &str =
    "a migration into it is not finished: run that one once more, until it says that all is there";

/// What became of a migration.
#[derive(Debug, Serialize)]
struct Report {
    from: String,
    to: String,
    /// Both as people write them.
    #[serde(skip)]
    names: [String; 2],
    /// Whether nothing was to be written.
    dry_run: bool,
    /// When an earlier run had done it; nothing was written then.
    done_before: Option<Timestamp>,
    #[serde(flatten)]
    tally: Tally,
}

pub(crate) async fn run(how: Migrate, place: &Place, out: Out) -> Result<(), Problem> {
    let Migrate {
        from,
        from_schema,
        to,
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
    check_places((&from, &from_schema), (&to, &place.schema))?;
    let how = How {
        now: Timestamp::now(),
        dry_run,
        partial,
    };
    let target = match &to {
        LedgerPlace::Folder(folder) => Destination::Folder(folder.clone()),
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

/// Checks that the two places can be told apart, and that what was given for them applies.
fn check_places(from: (&LedgerPlace, &str), to: (&LedgerPlace, &str)) -> Result<(), Problem> {
    for (option, (place, name)) in [("--from-schema", from), ("--schema", to)] {
        if matches!(place, LedgerPlace::Folder(_)) && name != NAME {
            let text = format!("`{option}` is for a ledger on a server: a folder has no name");
            return Err(Problem::usage(text));
        }
    }
    match (from.0, to.0) {
        (LedgerPlace::Shared(server), LedgerPlace::Shared(other))
            if server == other && from.1 == to.1 =>
        {
            Err(Problem::usage(
                "the target is the source: give another server, or another name with `--schema`",
            ))
        }
        (LedgerPlace::Folder(source), LedgerPlace::Folder(target)) if is_within(target, source) => {
            Err(Problem::usage(
                "the target is the source, or in it: give a folder beside it",
            ))
        }
        _ => Ok(()),
    }
}

/// Returns whether a folder, which may be yet to be made, is another one or in it.
fn is_within(folder: &Path, of: &Path) -> bool {
    let Ok(of) = of.canonicalize() else {
        return false;
    };
    let Ok(folder) = std::path::absolute(folder) else {
        return false;
    };
    let there = folder
        .ancestors()
        .find_map(|above| above.canonicalize().ok());
    there.is_some_and(|there| there.starts_with(of))
}

/// Returns a place as people write it, with the ledger's name unless it is the usual one.
fn named(place: &LedgerPlace, name: &str) -> String {
    match place {
        LedgerPlace::Shared(url) if name != NAME => format!("{url} ({name})"),
        place => place.to_string(),
    }
}

/// Where a migration goes.
enum Destination {
    Folder(PathBuf),
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
        Destination::Folder(path) => migrate_to_folder(source, &path, how).await,
        Destination::Postgres(settings, url) => {
            migrate_to_postgres(source, *settings, &url, how).await
        }
        Destination::Redis(settings, url) => migrate_to_redis(source, settings, &url, how).await,
    }
}

async fn migrate_to_folder(source: &impl Stopped, path: &Path, how: &How) -> Result<Done, Problem> {
    let plan = plan(source, into_folder::mark(path)?, how).await?;
    if let Plan::End(done) = plan {
        return Ok(done);
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

/// How to migrate.
struct How {
    now: Timestamp,
    dry_run: bool,
    partial: bool,
}

/// What was done.
#[derive(Debug)]
struct Done {
    /// When an earlier run had done it.
    before: Option<Timestamp>,
    tally: Tally,
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
    let target = SharedTarget::new(store);
    let migrating = async {
        let plan = plan(source, Mark::read(&target).await?, how).await?;
        carry_out(plan, &target, how, alone).await
    };
    let done = migrating.await;
    let closed = target.close().await;
    done.and_then(|done| closed.map(|()| done))
}

/// What is left to do once the source was looked at.
enum Plan<'a, O> {
    /// Nothing.
    End(Done),
    Copy {
        source: Source<'a, O>,
        /// How many go over.
        total: u64,
        mark: Mark,
    },
}

/// Looks at the source. `mark` is what an earlier run has left in the target.
async fn plan<'a, O: Stopped>(
    ledger: &'a O,
    mark: Option<Mark>,
    how: &How,
) -> Result<Plan<'a, O>, Problem> {
    if let Some(mark) = &mark {
        mark.check(ledger)?;
        if let Some(done) = mark.done {
            let (before, tally) = (Some(done), Tally::default());
            return Ok(Plan::End(Done { before, tally }));
        }
    }
    let since = mark.as_ref().map_or(how.now, |mark| mark.since);
    let source = Source::new(ledger, since);
    let expected = source.look().await?;
    if how.dry_run {
        let (before, tally) = (None, expected);
        return Ok(Plan::End(Done { before, tally }));
    }
    complete(&expected, how.partial)?;
    let total = expected.total();
    let numbers = ledger.last_number() + total + 1;
    let mark = mark.unwrap_or_else(|| Mark::new(ledger, since, numbers));
    Ok(Plan::Copy {
        source,
        total,
        mark,
    })
}

async fn carry_out<O: Stopped>(
    plan: Plan<'_, O>,
    target: &impl Target,
    how: &How,
    alone: impl AsyncFnOnce() -> Result<(), Problem>,
) -> Result<Done, Problem> {
    let (source, total, mut mark) = match plan {
        Plan::End(done) => return Ok(done),
        Plan::Copy {
            source,
            total,
            mark,
        } => (source, total, mark),
    };
    let ledger = source.ledger;
    let first = mark.begin_run(target, alone).await? + ledger.last_number();
    let bar = progress::bar(total, "copied");
    let mut copier = Copier::new(source, target, first, bar);
    copier.run().await?;
    copier.bar.finish_and_clear();
    ledger.check_unused().await?;
    mark.finish(target, how.now).await?;
    let (before, tally) = (None, copier.tally);
    Ok(Done { before, tally })
}

/// Checks that all goes over, or need not.
fn complete(expected: &Tally, partial: bool) -> Result<(), Problem> {
    let left: Vec<_> = [Skip::LongKeys, Skip::Unreadable]
        .into_iter()
        .filter(|skip| expected.left_out(*skip) > 0)
        .map(|skip| format!("{} {}", expected.left_out(skip), skip.why()))
        .collect();
    if left.is_empty() || partial {
        return Ok(());
    }
    Err(Problem::failed(format!(
        "not all can go over, and nothing was changed: {}. Leave them out with `--partial`, or wait until they have \
         expired",
        left.join("; ")
    )))
}

fn page(report: &Report, out: Out) -> String {
    let [from, to] = report.names.each_ref().map(|name| line(name));
    if let Some(done) = report.done_before {
        return format!("`{from}` was migrated to `{to}` at {done:.0}: nothing was left to do");
    }
    let tally = &report.tally;
    let copied = if report.dry_run { "To copy" } else { "Copied" };
    let mut table = out.table([("What", false), (copied, true), ("There before", true)]);
    for kind in Kind::ALL.into_iter().filter(|kind| tally.of(*kind) > 0) {
        let copied = tally.copied.get(&kind).copied().unwrap_or(0);
        let there = tally.of(kind) - copied;
        table.add_row(vec![
            Cell::new(kind.name()),
            Cell::new(copied),
            Cell::new(there),
        ]);
    }
    let mut text = format!("{table}\n");
    for (skip, count) in &tally.skipped {
        let _ = writeln!(text, "left out: {count} {}", skip.why());
    }
    if tally.crashed > 0 {
        let _ = writeln!(
            text,
            "attempts that ran when the service ended, and count as crashed: {}",
            tally.crashed
        );
    }
    if tally.buried > 0 {
        let _ = writeln!(
            text,
            "dead letters written, as after a restart, where no attempt or no time was left: {}",
            tally.buried
        );
    }
    let _ = if report.dry_run {
        writeln!(
            text,
            "nothing was changed: this is what `{from}` would bring to `{to}`"
        )
    } else {
        writeln!(
            text,
            "`{from}` is copied to `{to}`, and is as it was: start the services on `{to}`, and none on `{from}`"
        )
    };
    text
}
