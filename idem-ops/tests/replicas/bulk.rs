//! Bulk jobs that replicas share: one works on a job, each shows it, and another takes it over.

use std::time::Duration;

use idem_ops::service::{
    Actions, AuditAction, BulkAction, BulkJob, BulkState, LetterQuery, NewBulkJob, Outcome,
    PageQuery, Selection, Service, ServiceError,
};
use idem_runtime::notes::NoteChange;
use serde_json::json;
use uuid::Uuid;

use crate::{Killable, Shared, Stock, TAKEOVER, die, open, settled, within};

const STEP: Duration = Duration::from_millis(50);

fn asked(action: BulkAction, selection: &Selection, rate: f64) -> NewBulkJob {
    serde_json::from_value(json!({
        "selection": selection, "deed": action, "rate": rate, "why": "the bank is back",
    }))
    .unwrap()
}

fn all() -> Selection {
    Selection::Filter(LetterQuery::default())
}

async fn started(by: Actions, asked: NewBulkJob) -> BulkJob {
    by.start_bulk(asked).await.unwrap()
}

/// Waits on another replica until a job is as wanted, while time passes.
async fn watched(
    shared: &Shared,
    service: &Service,
    id: Uuid,
    wanted: impl Fn(&BulkJob) -> bool,
) -> BulkJob {
    let bulk = shared
        .until(
            STEP,
            async || service.bulk(id).await.unwrap(),
            |bulk| wanted(bulk) || bulk.state != BulkState::Running,
        )
        .await;
    assert!(wanted(&bulk), "{bulk:?}");
    bulk
}

fn finished(bulk: &BulkJob) -> bool {
    bulk.state == BulkState::Finished
}

#[tokio::test]
async fn a_job_is_worked_on_by_one_replica_and_shown_by_each() {
    let shared = Shared::new();
    let (one, other) = (shared.process(), shared.process());
    let (stock, idle) = (Stock::new(100), Stock::new(100));
    stock.runs_on(&one);
    idle.runs_on(&other);
    die(&one, 0..30, "no stock").await;
    let (here, there) = (Service::new(one), Service::new(other));
    let bulk = started(here.by("ann"), asked(BulkAction::Run, &all(), 2.0)).await;
    assert_eq!(there.bulk(bulk.id).await.unwrap(), bulk);
    // The other one looks several times while the job goes on.
    let half = watched(&shared, &there, bulk.id, |bulk| bulk.done >= 15).await;
    assert_eq!((half.total, half.state), (30, BulkState::Running));
    let end = watched(&shared, &there, bulk.id, finished).await;
    assert_eq!((end.done, end.failed, end.skipped), (30, 0, 0));
    assert_eq!(here.bulk(bulk.id).await.unwrap(), end);
    let query = PageQuery::default();
    assert_eq!(there.bulks(&query).await.unwrap().bulks, [end]);
    assert_eq!((stock.begun().len(), idle.begun().len()), (30, 0));
    for service in [&here, &there] {
        let left = service.letters(&LetterQuery::default()).await.unwrap();
        assert_eq!((left.total, left.letters.len()), (0, 0));
    }
}

/// The sleepers of two services, one of which waits for a run of its job.
const SLEEPERS: usize = 8;

#[tokio::test]
async fn a_job_whose_worker_was_killed_is_taken_over_and_counts_each_letter_once() {
    let shared = Shared::new();
    let (one, other) = (shared.process(), shared.process());
    // The sixth run hangs.
    let (stock, heir) = (Stock::new(5), Stock::new(100));
    stock.runs_on(&one);
    heir.runs_on(&other);
    die(&one, 0..10, "no stock").await;
    let dying = Killable::new();
    let (bulk, here) = dying
        .run(async move {
            let service = Service::new(one);
            let asked = asked(BulkAction::Run, &all(), 20.0);
            (started(service.by("ann"), asked).await, service)
        })
        .await;
    let there = Service::new(other);
    shared
        .until(STEP, async || stock.begun().len(), |begun| *begun == 6)
        .await;
    let hangs = there.bulk(bulk.id).await.unwrap();
    assert_eq!((hangs.done, hangs.state), (4, BulkState::Running));
    // As long as it lives, its job is its own, however long a run takes.
    let notes = there.idem().notes();
    let beat = format!("beats/bulk/{}", bulk.id);
    for _ in 0..8 {
        let before = notes.get(&beat).await.unwrap();
        within(shared.clock.asleep(SLEEPERS)).await;
        shared.clock.advance(Duration::from_secs(10));
        let renewed = async || notes.get(&beat).await.unwrap();
        shared
            .until(Duration::ZERO, renewed, |beat| *beat != before)
            .await;
    }
    assert_eq!(there.bulk(bulk.id).await.unwrap(), hangs);
    assert_eq!(heir.begun().len(), 0);
    dying.kill().await;
    stock.free.send_replace(100);
    let end = watched(&shared, &there, bulk.id, finished).await;
    assert_eq!((end.done, end.failed, end.skipped), (9, 0, 1), "{end:?}");
    assert!(end.problems[0].error.contains("stopped during its run"));
    let mut begun = [stock.begun(), heir.begun()].concat();
    begun.sort_unstable();
    let each: Vec<_> = (0..10).map(|number| format!("A-{number:03}")).collect();
    assert_eq!(begun, each, "a letter ran twice");

    let limit = PageQuery {
        limit: Some(100),
        ..PageQuery::default()
    };
    let log = there.audit(&limit).await.unwrap().entries;
    let of_job = log.iter().filter(|entry| entry.bulk == Some(bulk.id));
    let outcomes: Vec<_> = of_job.map(|entry| (entry.what, &entry.outcome)).collect();
    let done = (AuditAction::Run, &Outcome::Done);
    assert_eq!(outcomes.iter().filter(|had| **had == done).count(), 9);
    assert_eq!(outcomes.len(), 11, "its start, and each letter");
    drop(here);
}

#[tokio::test]
async fn letters_of_an_interrupted_batch_that_were_closed_are_not_counted_again() {
    let shared = Shared::new();
    let (one, other) = (shared.process(), shared.process());
    die(&one, 0..6, "no stock").await;
    let ids = open(&one).await;
    let dying = Killable::new();
    let (bulk, _here) = dying
        .run({
            let (one, ids) = (one.clone(), ids.clone());
            async move {
                let service = Service::new(one);
                let asked = asked(BulkAction::Discard, &Selection::Ids(ids), 0.01);
                (started(service.by("ann"), asked).await, service)
            }
        })
        .await;
    let there = Service::read_only(shared.process());
    within(async {
        while there.bulk(bulk.id).await.unwrap().done < 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    dying.kill().await;

    // As a kill leaves it: of a batch of three the newest was not reached.
    let letters = one.dead_letters().by("ann");
    for id in &ids[2..4] {
        letters.discard(id, "the bank is back").await.unwrap();
    }
    let key = format!("bulk/{}", bulk.id);
    let note = one.notes().get(&key).await.unwrap().unwrap();
    let mut job: serde_json::Value = serde_json::from_slice(&note).unwrap();
    job["turn"] = ids[1..4]
        .iter()
        .map(|id| json!([id, Uuid::nil()]))
        .collect();
    job["cursor"] = json!(ids[3]);
    job["bulk"]["asked"]["rate"] = json!(1000.0);
    let note = NoteChange::put(key, job.to_string());
    one.notes().write(vec![note]).await.unwrap();

    let there = Service::new(other);
    let end = watched(&shared, &there, bulk.id, finished).await;
    assert_eq!((end.total, end.done, end.skipped), (6, 6, 0), "{end:?}");
}

#[tokio::test]
async fn a_job_that_another_replica_works_on_is_cancelled_after_its_batch() {
    let shared = Shared::new();
    let (one, other) = (shared.process(), shared.process());
    // The batch of the third and the fourth run hangs.
    let stock = Stock::new(2);
    stock.runs_on(&one);
    die(&one, 0..10, "no stock").await;
    let (here, there) = (Service::new(one), Service::new(other.clone()));
    let bulk = started(here.by("ann"), asked(BulkAction::Run, &all(), 20.0)).await;
    shared
        .until(STEP, async || stock.begun().len(), |begun| *begun == 4)
        .await;
    let cancelling = tokio::spawn({
        let by = there.by("bob");
        async move { by.cancel_bulk(bulk.id, Some("enough")).await }
    });
    let key = format!("bulk/{}", bulk.id);
    let note = async || {
        let note = other.notes().get(&key).await.unwrap().unwrap();
        String::from_utf8(note).unwrap()
    };
    shared
        .until(STEP, note, |note| note.contains("enough"))
        .await;
    assert_eq!(there.bulk(bulk.id).await.unwrap().state, BulkState::Running);
    stock.free.send_replace(100);
    shared
        .until(STEP, async || cancelling.is_finished(), |ended| *ended)
        .await;
    let end = cancelling.await.unwrap().unwrap();
    assert_eq!((end.state, end.done), (BulkState::Cancelled, 4));
    shared.clock.advance(TAKEOVER);
    settled().await;
    assert_eq!(here.bulk(bulk.id).await.unwrap(), end);
    assert_eq!(stock.begun().len(), 4);
    let again = here.by("ann").cancel_bulk(bulk.id, None).await;
    assert!(matches!(again, Err(ServiceError::BulkEnded(_))));
    let log = here.audit(&PageQuery::default()).await.unwrap().entries;
    let mut cancels = log
        .iter()
        .filter(|entry| entry.what == AuditAction::CancelRedrive);
    assert_eq!(cancels.next().unwrap().who, "bob");
    assert!(cancels.next().is_none());
}

#[tokio::test]
async fn a_dead_workers_batch_is_settled_by_a_cancellation() {
    let shared = Shared::new();
    let (one, other) = (shared.process(), shared.process());
    let stock = Stock::new(1);
    stock.runs_on(&one);
    die(&one, 0..10, "no stock").await;
    let dying = Killable::new();
    let (bulk, _here) = dying
        .run(async move {
            let service = Service::new(one);
            let asked = asked(BulkAction::Run, &all(), 20.0);
            (started(service.by("ann"), asked).await, service)
        })
        .await;
    shared
        .until(STEP, async || stock.begun().len(), |begun| *begun == 2)
        .await;
    dying.kill().await;
    // It takes over nothing on its own.
    let there = Service::read_only(other);
    let cancelling = tokio::spawn({
        let by = there.by("bob");
        async move { by.cancel_bulk(bulk.id, Some("enough")).await }
    });
    shared
        .until(STEP, async || cancelling.is_finished(), |ended| *ended)
        .await;
    let end = cancelling.await.unwrap().unwrap();
    assert_eq!(
        (end.state, end.done, end.skipped),
        (BulkState::Cancelled, 1, 1)
    );
    assert!(there.bulks(&PageQuery::default()).await.unwrap().bulks == [end]);
}
