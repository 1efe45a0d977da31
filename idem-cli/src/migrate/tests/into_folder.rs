//! Migrations into a folder.

use futures_util::stream::{self, StreamExt};
use idem_runtime::ledger::{Engine, Note, StoppedLedger, StoppedRecord};
use idem_runtime::protocol::DeadLetter;
use idem_runtime::{Error, Idem};
use tempfile::TempDir;

use super::{empty, folder, goes_on, held, how, migrate, place_order, refused, seen};
use crate::migrate::plan::{How, Plan, plan};
use crate::migrate::source::{Items, Source, Stopped};
use crate::migrate::tally::Kind;
use crate::migrate::{fill, into_folder, migrate_to_folder};
use crate::problem::Problem;

/// A folder of which so many records can be read, and then none.
struct Breaks(StoppedLedger, usize);

impl Stopped for Breaks {
    fn name(&self) -> String {
        self.0.name()
    }

    fn last_write(&self) -> u64 {
        self.0.last_write()
    }

    fn last_number(&self) -> u64 {
        self.0.last_number()
    }

    fn records(&self) -> Items<'_, StoppedRecord> {
        let all = Stopped::records(&self.0);
        let broken = stream::once(async { Err(Problem::failed("it broke off")) });
        all.take(self.1).chain(broken).boxed_local()
    }

    fn letters(&self) -> Items<'_, DeadLetter> {
        Stopped::letters(&self.0)
    }

    async fn notes(&self, after: Option<&str>, limit: usize) -> Result<Vec<Note>, Problem> {
        Stopped::notes(&self.0, after, limit).await
    }

    async fn check_unused(&self) -> Result<(), Problem> {
        Ok(())
    }
}

#[tokio::test]
async fn a_folder_is_filled_in_as_many_runs_as_it_takes_and_opens_then() {
    is_filled_in_runs(folder().await, Engine::Sled).await;
}

#[tokio::test]
async fn a_folder_on_fjall_is_filled_and_fills_one_on_sled() {
    let place = is_filled_in_runs(folder().await, Engine::Fjall).await;
    is_filled_in_runs(place, Engine::Sled).await;
}

/// Fills a folder on an engine, and returns one like it that was filled at once.
async fn is_filled_in_runs(place: TempDir, engine: Engine) -> TempDir {
    let how = how();
    let whole = empty();
    migrate(&held(&place), &whole, &how).await.unwrap();
    let wanted = seen(&whole).await;

    let filled = tempfile::tempdir().unwrap();
    let path = filled.path().join("made/here");
    for records in [0, 1, 500, 600] {
        let broken = Breaks(held(&place), records);
        let plan = plan(&broken.0, into_folder::mark(&path).unwrap(), &how).await;
        let Plan::Copy { total, mark, .. } = plan.unwrap() else {
            panic!("there is something to do")
        };
        let source = Source::new(&broken, how.now);
        let plan = Plan::Copy {
            source,
            total,
            mark,
        };
        let done = fill(plan, &path, engine, &how).await;
        assert_eq!(refused(done), "it broke off");
        let opened = Idem::builder().engine(engine).open(&path);
        let Error::Ledger { source, .. } = opened.unwrap_err() else {
            panic!("it is the ledger that refuses")
        };
        let text = source.to_string();
        assert!(text.contains("run the same `idem migrate`"), "{text}");
    }
    let other = match engine {
        Engine::Sled => Engine::Fjall,
        _ => Engine::Sled,
    };
    let text = refused(migrate_to_folder(&held(&place), &path, Some(other), &how).await);
    assert!(text.contains("leave `--engine` out"), "{text}");
    let done = migrate_to_folder(&held(&place), &path, Some(engine), &how).await;
    let tally = done.unwrap().tally;
    assert_eq!(tally.of(Kind::Results), 601, "{tally:?}");
    assert!(tally.there.contains_key(&Kind::Results), "{tally:?}");
    let again = migrate_to_folder(&held(&place), &path, Some(engine), &how).await;
    assert!(again.unwrap().before.is_some());

    // It brings what its own source brought.
    let store = empty();
    let source = StoppedLedger::open(&path, 16 << 20).unwrap();
    assert!(source.last_number() > held(&place).last_number());
    migrate(&source, &store, &how).await.unwrap();
    assert!(seen(&store).await == wanted);
    drop(source);
    goes_on(&Idem::builder().engine(engine).open(&path).unwrap()).await;
    let copy = tempfile::tempdir().unwrap();
    let copied = migrate_to_folder(&held(&place), copy.path(), Some(engine), &how).await;
    copied.unwrap();
    copy
}

#[tokio::test]
async fn a_folder_that_a_service_has_used_is_not_filled() {
    let (source, used) = (folder().await, folder().await);
    let to = used.path();
    let text = refused(migrate_to_folder(&held(&source), to, None, &how()).await);
    assert!(
        text.contains("a service has used the target") && text.contains("in another folder"),
        "{text}"
    );
    let idem = Idem::open(to).unwrap();
    assert_eq!(
        idem.scope(place_order("A-7".to_owned(), 2)).await.unwrap(),
        200
    );
    idem.close().await.unwrap();
    // What is left of a damaged one is a service's to go on with.
    std::fs::remove_file(to.join("witness")).unwrap();
    let text = refused(migrate_to_folder(&held(&source), to, None, &how()).await);
    assert!(text.contains("its witness cannot be read"), "{text}");
    assert!(!to.join("witness").exists());
    // Nothing is made where nothing goes over.
    let dry = How {
        dry_run: true,
        ..how()
    };
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("dry");
    let done = migrate_to_folder(&held(&source), &to, None, &dry).await;
    assert_eq!(done.unwrap().tally.of(Kind::Results), 601);
    assert!(!to.exists());
}
