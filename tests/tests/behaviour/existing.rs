//! `existing` looks in the business table before each run: what is there is the result.

use idem_runtime::testing::temporary;
use idem_runtime::{Filter, attempt, idempotent};

use crate::common::{Body, Log, Oops, only_letter};

/// A business table with one answer.
#[derive(Debug, Default)]
struct Table {
    answers: Log<Result<Option<u32>, &'static str>>,
    asked: Log<(u32, String, Option<u32>)>,
}

impl Table {
    fn answering(answers: impl IntoIterator<Item = Result<Option<u32>, &'static str>>) -> Self {
        let table = Self::default();
        answers
            .into_iter()
            .for_each(|answer| table.answers.push(answer));
        table
    }

    fn ask(&self, id: u32, note: &str) -> Result<Option<u32>, Oops> {
        self.asked
            .push((id, note.to_owned(), attempt().map(|attempt| attempt.number)));
        let mut answers = self.answers.take();
        let answer = answers.remove(0);
        answers
            .into_iter()
            .for_each(|answer| self.answers.push(answer));
        answer.map_err(Oops::own)
    }
}

async fn find(id: &u32, note: &str, table: &Table, _body: &Body) -> Result<Option<u32>, Oops> {
    tokio::task::yield_now().await;
    table.ask(*id, note)
}

#[idempotent(
    name = "existing.place", key = "id", existing = find, retries = 2, backoff(initial = "0ms"), skip(table, body)
)]
async fn place(id: u32, note: &str, table: &Table, body: &Body) -> Result<u32, Oops> {
    match body.start() {
        1 => Err(Oops::own("the body failed")),
        number => Ok(number),
    }
}

#[tokio::test]
async fn what_exists_is_the_result_and_the_body_does_not_run() {
    let (idem, body, table) = (
        temporary().unwrap(),
        Body::open(),
        Table::answering([Ok(Some(42))]),
    );
    idem.scope(async {
        assert_eq!(place(1, "n", &table, &body).await.unwrap(), 42);
        assert_eq!(
            place(1, "n", &table, &body).await.unwrap(),
            42,
            "recorded: the table is not asked again"
        );
    })
    .await;
    assert_eq!(table.asked.take(), [(1, "n".to_owned(), Some(1))]);
    assert_eq!(body.starts(), 0);
}

#[tokio::test]
async fn it_is_asked_before_each_run() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let table = Table::answering([Ok(None), Ok(Some(7))]);
    idem.scope(async {
        assert_eq!(place(1, "n", &table, &body).await.unwrap(), 7);
    })
    .await;
    let asked: Vec<_> = table
        .asked
        .take()
        .into_iter()
        .map(|(.., number)| number)
        .collect();
    assert_eq!(asked, [Some(1), Some(2)]);
    assert_eq!(body.starts(), 1);
}

#[tokio::test]
async fn what_does_not_exist_is_made() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let table = Table::answering([Ok(None), Ok(None)]);
    idem.scope(async {
        assert_eq!(place(1, "n", &table, &body).await.unwrap(), 2);
    })
    .await;
    assert_eq!(body.starts(), 2);
}

#[tokio::test]
async fn an_error_of_the_look_is_a_failed_attempt_and_the_body_does_not_run() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let table = Table::answering([Err("no table"), Err("no table"), Err("still no table")]);
    let error = idem.scope(place(1, "n", &table, &body)).await.unwrap_err();
    assert_eq!(error.into_own(), "still no table");
    assert_eq!(body.starts(), 0);
    let letter = only_letter(&idem).await;
    assert_eq!(
        (letter.attempts.len(), letter.last_error()),
        (3, Some("still no table"))
    );
}

#[tokio::test]
async fn a_look_that_fails_once_costs_one_attempt() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let table = Table::answering([Err("busy"), Ok(Some(5))]);
    assert_eq!(idem.scope(place(1, "n", &table, &body)).await.unwrap(), 5);
    assert!(
        idem.dead_letters()
            .list(&Filter::default())
            .await
            .unwrap()
            .is_empty()
    );
}

fn find_now(id: &u32, note: &str, table: &Table, _body: &Body) -> Result<Option<u32>, Oops> {
    table.ask(*id, note)
}

#[idempotent(
    name = "existing.place_now", key = "id", existing = find_now, backoff(initial = "0ms"), skip(table, body)
)]
fn place_now(id: u32, note: &str, table: &Table, body: &Body) -> Result<u32, Oops> {
    Ok(body.start())
}

#[test]
fn a_sync_handler_looks_too() {
    let (idem, body) = (temporary().unwrap(), Body::open());
    let table = Table::answering([Ok(Some(9)), Err("busy"), Ok(None)]);
    idem.sync_scope(|| {
        assert_eq!(place_now(1, "n", &table, &body).unwrap(), 9);
        assert_eq!(place_now(1, "n", &table, &body).unwrap(), 9);
        assert_eq!(place_now(2, "n", &table, &body).unwrap(), 1);
    });
    assert_eq!(table.asked.take().len(), 3);
}

/// A service whose methods look too.
#[derive(Debug)]
struct Service {
    table: Table,
    body: std::sync::Arc<Body>,
}

impl Service {
    async fn found(&self, id: &u32, note: &str) -> Result<Option<u32>, Oops> {
        self.table.ask(*id, note)
    }

    #[idempotent(name = "existing.method", key = "id", existing = Self::found)]
    async fn place(&self, id: u32, note: &str) -> Result<u32, Oops> {
        Ok(self.body.start())
    }
}

#[tokio::test]
async fn a_method_looks_with_its_receiver_first() {
    let service = Service {
        table: Table::answering([Ok(Some(3)), Ok(None)]),
        body: Body::open(),
    };
    let idem = temporary().unwrap();
    idem.scope(async {
        assert_eq!(service.place(1, "n").await.unwrap(), 3);
        assert_eq!(service.place(2, "n").await.unwrap(), 1);
    })
    .await;
}
